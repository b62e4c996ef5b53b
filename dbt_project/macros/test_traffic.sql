{#
    Rule R14: the platforms' own test traffic is kept, marked, and in no count.

    The parser marks it (`ingestion/parser/people.py` says where each number is published); rows
    from parser versions before 4 are recognised by the business number alone.
#}
{% macro is_test_traffic() -%}
    coalesce(is_test, false)
    or coalesce(business_number_id in ('16505551111', '14155238886', '4930609859535'), false)
    or coalesce(phone_number_id in ('123456123'), false)
{%- endmacro %}

{# Test traffic belongs to another person than the real owner of the same phone: trying a sandbox
   with one's own phone does not turn a real lead into a test, and joins nobody. #}
{% macro test_identity(identity_key) -%}
    'test:' || {{ identity_key }}
{%- endmacro %}

{% macro is_test_person(key) -%}
    coalesce({{ key }} like 'test:%', false)
{%- endmacro %}
