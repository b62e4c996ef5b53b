/*
    Grain: one row per platform, ad set and window with spend or leads in it.

    The method of creative_board one level up (macro `board`): an ad set is measured by the account's
    other ad sets of the same kind and currency (E127).
*/

{{ board('adset', 'int_adsets__described', [
    'ads.adset_name', 'worded.campaign_id', 'campaigns.campaign_name', 'worded.account_id',
    'ads.effective_status', 'not ads.is_in_api as is_deleted'
]) }}
