/*
    Grain: one row per platform, ad and time from which its names (ad, ad set, campaign) and its
    parents were these.

    Made from the history of reads (E36). The first version begins when the ad was created, or
    before all time if that is unknown, so that every touch finds a name; a later version begins
    when a read first saw it. An ad that was moved has the names of the parents it had then.
*/

with

object_versions as (

    select * from {{ ref('int_ad_objects__versioned') }}

),

described as (

    select * from {{ ref('int_ads__described') }}
    where resolution = 'resolved'

),

-- Every parent that the ad has now or had in any read.
places as (

    select
        platform,
        ad_id,
        adset_id,
        campaign_id
    from described
    union distinct
    select
        platform,
        object_id as ad_id,
        adset_id,
        campaign_id
    from object_versions
    where object_level = 'ad'

),

ad_objects as (

    select distinct
        platform,
        ad_id,
        'ad' as object_level,
        ad_id as object_id
    from places
    union distinct
    select
        platform,
        ad_id,
        'adset' as object_level,
        adset_id as object_id
    from places
    union distinct
    select
        platform,
        ad_id,
        'campaign' as object_level,
        campaign_id as object_id
    from places

),

change_points as (

    select
        ad_objects.platform,
        ad_objects.ad_id,
        versions.read_no,
        min(versions.seen_at) as seen_at

    from ad_objects
    inner join object_versions as versions
        on
            ad_objects.platform = versions.platform
            and ad_objects.object_level = versions.object_level
            and ad_objects.object_id = versions.object_id
    group by ad_objects.platform, ad_objects.ad_id, versions.read_no

    union all

    -- Known from spend only: it has no reads of its own and one version.
    select
        platform,
        ad_id,
        0 as read_no,
        {{ beginning_of_time() }} as seen_at
    from described
    where name_source <> 'api'

),

placed_points as (

    select
        points.platform,
        points.ad_id,
        points.read_no,
        points.seen_at,
        described.created_at,
        described.adset_id as present_adset_id,
        described.adset_name as present_adset_name,
        described.campaign_id as present_campaign_id,
        described.campaign_name as present_campaign_name,
        coalesce(ad_versions.object_name, described.ad_name) as ad_name,
        coalesce(ad_versions.adset_id, described.adset_id) as adset_id,
        coalesce(ad_versions.campaign_id, described.campaign_id) as campaign_id

    from change_points as points
    inner join described
        on
            points.platform = described.platform
            and points.ad_id = described.ad_id
    left join object_versions as ad_versions
        on
            ad_versions.object_level = 'ad'
            and points.platform = ad_versions.platform
            and points.ad_id = ad_versions.object_id
            and points.read_no >= ad_versions.from_no
            and points.read_no < ad_versions.to_no

),

named_points as (

    select
        points.*,
        coalesce(
            adset_versions.object_name,
            case when points.adset_id = points.present_adset_id then points.present_adset_name end
        ) as adset_name,
        coalesce(
            campaign_versions.object_name,
            case
                when points.campaign_id = points.present_campaign_id
                    then points.present_campaign_name
            end
        ) as campaign_name

    from placed_points as points
    left join object_versions as adset_versions
        on
            adset_versions.object_level = 'adset'
            and points.platform = adset_versions.platform
            and points.adset_id = adset_versions.object_id
            and points.read_no >= adset_versions.from_no
            and points.read_no < adset_versions.to_no
    left join object_versions as campaign_versions
        on
            campaign_versions.object_level = 'campaign'
            and points.platform = campaign_versions.platform
            and points.campaign_id = campaign_versions.object_id
            and points.read_no >= campaign_versions.from_no
            and points.read_no < campaign_versions.to_no

),

compared as (

    select
        *,
        row_number() over versions as place,
        lag(ad_name) over versions as ad_name_before,
        lag(adset_id) over versions as adset_id_before,
        lag(adset_name) over versions as adset_name_before,
        lag(campaign_id) over versions as campaign_id_before,
        lag(campaign_name) over versions as campaign_name_before

    from named_points
    window versions as (partition by platform, ad_id order by read_no)

),

changes as (

    select
        platform,
        ad_id,
        ad_name,
        adset_id,
        adset_name,
        campaign_id,
        campaign_name,
        read_no,
        case
            when place > 1 then seen_at
            when created_at < seen_at then created_at
            when created_at is null then {{ beginning_of_time() }}
            else seen_at
        end as valid_from

    from compared
    where
        place = 1
        or ad_name is distinct from ad_name_before
        or adset_id is distinct from adset_id_before
        or adset_name is distinct from adset_name_before
        or campaign_id is distinct from campaign_id_before
        or campaign_name is distinct from campaign_name_before

),

ranked as (

    select
        *,
        row_number() over (partition by platform, ad_id, valid_from order by read_no desc) as recency

    from changes

),

final as (

    select
        platform,
        ad_id,
        valid_from,
        ad_name,
        adset_id,
        adset_name,
        campaign_id,
        campaign_name,
        lead(valid_from) over (partition by platform, ad_id order by valid_from) as valid_to

    from ranked
    where recency = 1

)

select * from final
