{{ config(materialized='view') }}

/*
    Grain: one row per day, from 2015 to `as_of`: MetricFlow's time spine, which fills in the days
    on which nothing happened.
*/

{{ days_until("cast('2015-01-01' as date)", as_of()) }}
