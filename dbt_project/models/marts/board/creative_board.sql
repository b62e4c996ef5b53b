/*
    Grain: one row per platform, ad and window with spend or leads in it, deleted ads included.

    The verdict compares the 90 % interval of what the ad is expected to pay for a qualified lead
    with what its peers (the account's other ads of the same kind, same currency, same window) pay:
    `scale` if even the bad end is better by the margin, `cut` if even the good end is worse, `hold`
    in between. Below the minimum of leads and spend, or of peers, there is no verdict and no rank
    (E65). Money that would have bought enough leads is evidence as well, so an ad that spent and
    brought nobody is judged, and ranks last (E46). More qualified leads out of the same leads never
    make a verdict worse. docs/creative-board.md explains the figures. The
    query is in the macro `board`, which the boards of ad sets and campaigns are made by as well.
*/

{{ board('ad', 'dim_ads', [
    'ads.ad_name', 'ads.adset_id', 'ads.adset_name', 'worded.campaign_id', 'ads.campaign_name',
    'worded.account_id', 'ads.headline', 'ads.media_type', 'ads.thumbnail_url',
    'ads.effective_status', 'ads.is_deleted'
]) }}
