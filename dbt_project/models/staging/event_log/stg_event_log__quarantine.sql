/* Grain: one row per element that the parser could not read; operators query it (docs/operations.md). */

select * from {{ source('event_log', 'quarantine') }}
