{%- set given = (('ad_id', 'ad'), ('adset_id', 'adset'), ('campaign_id', 'campaign'),
    ('utm_id', 'campaign'), ('utm_campaign', 'campaign'), ('utm_content', 'ad'),
    ('utm_term', 'adset')) %}

/*
    Grain: one row per touch that came from a page of the site, form or coded link, or by an instant
    form of Meta's, with the ids in its address that the tables of a platform know (rule R8).

    A value is an id if it exists there, whatever parameter it came in: `utm_id` and `utm_campaign`
    hold a campaign id at Google, at Meta possibly an ad id. Names are never compared. The platform
    is the one where the id exists; a click id of another platform rules it out. If the id exists on
    both, the source in the address decides (`ad_platform`), else neither counts.

    Rebuilt in full at every run: a campaign may be read long after the touch (E33, E93). No
    envelope announces that, so incremental models downstream compare `catalogue_no`.
*/

with

pages as (

    select
        form_key as touch_id,
        {{ page_columns() | join(',\n        ') }},
        lead_form_id,
        is_organic

    from {{ ref('int_web_leads__deduplicated') }}

    union all

    select
        message_key as touch_id,
        {{ page_columns() | join(',\n        ') }},
        cast(null as {{ dbt.type_string() }}) as lead_form_id,
        cast(null as boolean) as is_organic

    from {{ ref('int_link_codes__matched') }}
    where state = 'matched'

),

known as (

    {% for level, key, read in (
        ('ad', 'ad_id', 'ads'),
        ('adset', 'adset_id', 'adsets'),
        ('campaign', 'campaign_id', 'campaigns'),
    ) %}
    {{ 'union distinct' if not loop.first }}
    select
        platform,
        '{{ level }}' as known_as,
        {{ key }} as object_id
    from {{ source('ads', read) }}
    union distinct
    select
        platform,
        '{{ level }}' as known_as,
        {{ key }} as object_id
    from {{ ref('int_spend_objects__latest') }}
    where {{ key }} is not null
    {% endfor %}

),

-- Rises with every read that brought an object or a day of spend.
reads as (

    {% for read in (
        source('ads', 'ads'), source('ads', 'adsets'), source('ads', 'campaigns'),
        ref('int_spend_objects__latest')
    ) %}
    {{ 'union all' if not loop.first }}
    select max(read_no) as read_no
    from {{ read }}
    group by platform
    {% endfor %}

),

candidates as (

    {% for column, usual in given %}
    {{ 'union all' if not loop.first }}
    select
        touch_id,
        {{ loop.index }} as place,
        '{{ usual }}' as usually,
        {{ column }} as object_id
    from pages
    where {{ column }} is not null
    {% endfor %}

),

-- An id may be both a campaign's and an ad's: then it counts as what its parameter usually holds.
read_as as (

    select
        candidates.touch_id,
        candidates.place,
        candidates.object_id,
        known.platform,
        known.known_as,
        row_number() over (
            partition by candidates.touch_id, candidates.place, known.platform
            order by
                case when known.known_as = candidates.usually then 0 else 1 end,
                known.known_as
        ) as choice

    from candidates
    inner join known
        on candidates.object_id = known.object_id

),

found as (

    select
        touch_id,
        object_id,
        platform,
        known_as,
        row_number() over (
            partition by touch_id, platform, known_as
            order by place
        ) as place

    from read_as
    where choice = 1

),

by_platform as (

    select
        touch_id,
        platform,
        max(case when known_as = 'ad' then object_id end) as ad_id,
        max(case when known_as = 'adset' then object_id end) as adset_id,
        max(case when known_as = 'campaign' then object_id end) as campaign_id,
        count(*) over (partition by touch_id) as platforms

    from found
    where place = 1
    group by touch_id, platform

),

signed as (

    select
        *,
        case
            when coalesce(gclid, gbraid, wbraid) is not null then 'google'
            when msclkid is not null then 'microsoft'
        end as clicked_platform

    from pages

),

identified as (

    select
        signed.*,
        by_platform.platform as found_platform,
        by_platform.ad_id as found_ad_id,
        by_platform.adset_id as found_adset_id,
        by_platform.campaign_id as found_campaign_id,
        (select coalesce(sum(reads.read_no), 0) from reads) as catalogue_no

    from signed
    left join by_platform
        on
            signed.touch_id = by_platform.touch_id
            and by_platform.platform = coalesce(signed.clicked_platform, by_platform.platform)
            and (
                by_platform.platforms = 1
                or by_platform.platform = coalesce(signed.clicked_platform, signed.ad_platform)
            )

)

select * from identified
