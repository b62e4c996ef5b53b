/*
    Grain: one row per platform, level (ad, adset, campaign), object and read that found it new or
    changed: its name and parents as of that read, and the reads for which they hold, from `from_no`
    to before `to_no`. The first version also holds for all earlier reads.

    Reads of a platform are ordered by number. `seen_at` is forced to rise with the number, so a
    clock that was set back cannot make versions overlap.
*/

with

ads as (

    select * from {{ source('ads', 'ads') }}

),

adsets as (

    select * from {{ source('ads', 'adsets') }}

),

campaigns as (

    select * from {{ source('ads', 'campaigns') }}

),

named_reads as (

    select
        platform,
        'ad' as object_level,
        ad_id as object_id,
        ad_name as object_name,
        adset_id,
        campaign_id,
        read_no,
        read_at
    from ads
    union all
    select
        platform,
        'adset' as object_level,
        adset_id as object_id,
        adset_name as object_name,
        adset_id,
        campaign_id,
        read_no,
        read_at
    from adsets
    union all
    select
        platform,
        'campaign' as object_level,
        campaign_id as object_id,
        campaign_name as object_name,
        cast(null as {{ dbt.type_string() }}) as adset_id,
        campaign_id,
        read_no,
        read_at
    from campaigns

),

object_versions as (

    select
        platform,
        object_level,
        object_id,
        object_name,
        adset_id,
        campaign_id,
        read_no,
        max(read_at) over (
            partition by platform
            order by read_no
            range between unbounded preceding and current row
        ) as seen_at,
        case
            when
                row_number() over (
                    partition by platform, object_level, object_id
                    order by read_no
                ) = 1
                then 0
            else read_no
        end as from_no,
        coalesce(
            lead(read_no) over (partition by platform, object_level, object_id order by read_no),
            9223372036854775807
        ) as to_no

    from named_reads

)

select * from object_versions
