/*
    Grain: one row per platform, campaign and window with spend or leads in it.

    The method of creative_board one level up (macro `board`): a campaign is measured by the
    account's other campaigns of the same kind and currency, so that one whose ads are each too small
    for a verdict is judged as a whole (E127). Spend and leads that name a campaign but no ad count.
*/

{{ board('campaign', 'dim_campaigns', [
    'ads.campaign_name', 'worded.account_id', 'ads.effective_status', 'ads.is_deleted'
]) }}
