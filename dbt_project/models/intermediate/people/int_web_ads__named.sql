{{ config(materialized='view') }}

/* Grain: one row per platform and ad that the address of a page ever named; looked up by id (R8). */

select distinct
    platform,
    ad_id

from {{ ref('int_pages__classified') }}
where
    platform is not null
    and ad_id is not null
