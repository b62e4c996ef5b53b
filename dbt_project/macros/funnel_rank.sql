{# Rule R9: the order of the funnel, for outcomes of the same instant. An end comes after what it ends. #}
{% macro funnel_rank(funnel_stage) -%}
    case {{ funnel_stage }}
        {%- for stage in ['lead', 'qualified', 'opportunity', 'won', 'lost', 'disqualified'] %}
                    when '{{ stage }}' then {{ loop.index }}
        {%- endfor %}
                end
{%- endmacro %}
