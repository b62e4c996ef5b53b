/*
    Grain: one row per person (by their first lead): what a CRM is told about where they came from.

    `source` is the platform of the ad, else `utm_source`, else the channel. Names are the current
    ones (rule R8); the headline is the one that the person saw, else the ad's. `evidence_seq` is an
    envelope that shows who the person is, by the keys beside it: the latest copy of the message or
    form that the lead began with. `is_erased`: the click ids of its first touch or source touch
    were erased.
*/

with

leads as (

    select * from {{ ref('int_leads__sourced') }}
    where lead_number = 1

),

touches as (

    select
        touch_id,
        evidence_key

    from {{ ref('int_touches__classified') }}

),

messages as (

    select
        message_key,
        phone_key,
        bsuid_key,
        referral_headline,
        ctwa_clid,
        content_key

    from {{ ref('int_messages__deduplicated') }}

),

forms as (

    select
        *,
        'erased' in (gclid, gbraid, wbraid, fbclid, msclkid) as is_erased

    from {{ ref('int_web_leads__deduplicated') }}

),

evidence_by_message as (

    select
        leads.first_touch_id,
        max(copies.seq) as seq

    from leads
    inner join messages
        on leads.first_touch_id = messages.message_key
    inner join {{ source('event_log', 'messages') }} as copies
        on
            messages.message_key = copies.message_key
            and messages.content_key = copies.content_key
    group by leads.first_touch_id

),

evidence_by_form as (

    select
        leads.first_touch_id,
        max(copies.seq) as seq

    from leads
    inner join forms
        on leads.first_touch_id = forms.form_key
    inner join {{ source('event_log', 'web_leads') }} as copies
        on
            forms.form_key = copies.form_key
            and forms.content_key = copies.content_key
    group by leads.first_touch_id

),

crm_outbox as (

    select
        leads.lead_id,
        coalesce(leads.platform, pages.utm_source, leads.channel) as source, -- noqa: RF04
        leads.channel,
        leads.basis,
        placed.campaign_id,
        placed.campaign_name,
        placed.adset_id,
        adsets.adset_name,
        placed.ad_id,
        ads.ad_name,
        coalesce(evidence.referral_headline, ads.headline) as headline,
        excluded.lead_id is not null as is_excluded,
        coalesce(evidence.ctwa_clid = 'erased', false)
        or coalesce(messages.ctwa_clid = 'erased', false)
        or coalesce(forms.is_erased, false) as is_erased,
        coalesce(evidence_by_message.seq, evidence_by_form.seq) as evidence_seq,
        coalesce(messages.phone_key, forms.phone_key) as phone_key,
        messages.bsuid_key,
        forms.email_key,
        forms.web_lead_key,
        leads.first_touch_at

    from leads
    inner join {{ ref('int_touches__placed') }} as placed
        on leads.source_touch_id = placed.touch_id
    inner join touches
        on leads.source_touch_id = touches.touch_id
    left join messages as evidence
        on touches.evidence_key = evidence.message_key
    left join messages
        on leads.first_touch_id = messages.message_key
    left join forms
        on leads.first_touch_id = forms.form_key
    left join evidence_by_message
        on leads.first_touch_id = evidence_by_message.first_touch_id
    left join evidence_by_form
        on leads.first_touch_id = evidence_by_form.first_touch_id
    left join {{ ref('int_pages__classified') }} as pages
        on
            leads.is_from_page
            and leads.source_touch_id = pages.touch_id
    left join {{ ref('int_ads__described') }} as ads
        on
            placed.platform = ads.platform
            and placed.ad_id = ads.ad_id
    left join {{ ref('int_adsets__described') }} as adsets
        on
            placed.platform = adsets.platform
            and placed.adset_id = adsets.adset_id
    left join {{ ref('int_leads__excluded') }} as excluded
        on leads.lead_id = excluded.lead_id

)

select * from crm_outbox
