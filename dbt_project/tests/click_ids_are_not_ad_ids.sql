-- E9: a click id is never taken for an ad id, nor an ad id for a click id.
select
    message_key,
    referral_source_id

from {{ ref('int_messages__deduplicated') }}
where referral_source_id = ctwa_clid
