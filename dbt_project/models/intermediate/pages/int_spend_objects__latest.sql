{{
    config(
        materialized = 'incremental',
        incremental_strategy = 'delete+insert',
        unique_key = 'object_key',
        on_schema_change = 'fail',
    )
}}
/*
    Grain: one row per platform, level (ad, ad_group, campaign) and object that spend ever named,
    with the names and parents of its latest row.

    Rows of superseded reads count too: an ad once seen is kept for good (rule R8). Only reads newer
    than the newest one of the same platform in this model are scanned: a read lands completely,
    under the lock, before the models run.
*/

{% set columns = [
    'object_key', 'platform', 'spend_level', 'object_id', 'account_id', 'ad_id', 'adset_id',
    'campaign_id', 'ad_name', 'adset_name', 'campaign_name', 'currency', 'spend_date', 'read_no',
] %}
with

-- One scan per condition: a common table expression would be materialised over all reads.
new_rows as (

    {% for condition in newer_than_own_reads('reads') %}
    {{ 'union all' if not loop.first }}
    select * from {{ source('ads', 'spend_rows') }} as reads
    where {{ condition }}
    {% endfor %}

),

named_rows as (

    select
        *,
        case spend_level when 'ad' then ad_id when 'ad_group' then adset_id else campaign_id end
            as object_id

    from new_rows

),

keyed as (

    select
        *,
        platform || ':' || spend_level || ':' || object_id as object_key

    from named_rows

),

candidates as (

    select {{ columns | join(', ') }} from keyed
    {% if is_incremental() %}
        union all
        select {{ columns | join(', ') }} from {{ this }}
        where object_key in (select keyed.object_key from keyed)
    {% endif %}

),

ranked as (

    select
        *,
        row_number() over (
            partition by object_key
            order by read_no desc, spend_date desc, account_id asc, adset_id asc
        ) as recency

    from candidates

)

select {{ columns | join(', ') }} from ranked
where recency = 1
