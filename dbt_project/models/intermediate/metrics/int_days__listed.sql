{{ config(materialized='view') }}

/*
    Grain: one row per day, from 2015 to `as_of`: MetricFlow's time spine, which fills the days on
    which nothing happened.
*/

with

days as (

    {{ dbt.date_spine(
        'day',
        "cast('2015-01-01' as date)",
        dbt.dateadd('day', 1, as_of())
    ) }}

)

select cast(date_day as date) as day_date from days
