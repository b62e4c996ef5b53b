{# The columns about a page's address that `web_leads` and `link_clicks` of the event log share. #}
{% macro page_columns() -%}
    {{ return([
        'page_host', 'page_path', 'referrer_host', 'utm_source', 'utm_medium', 'utm_campaign',
        'utm_content', 'utm_term', 'utm_id', 'ad_platform', 'ad_id', 'adset_id', 'campaign_id',
        'has_unexpanded_macro', 'gclid', 'gbraid', 'wbraid', 'fbclid', 'msclkid',
    ]) }}
{%- endmacro %}
