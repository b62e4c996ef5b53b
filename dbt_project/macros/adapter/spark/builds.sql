{#
    How tables are made on Spark: every build of a model or seed is a Parquet table of its own,
    `<name>__b<time>`, and the name is a view of the newest build. One statement makes a build count, so
    readers see the one or the other, and a run that is killed leaves what was there. Plain Parquet
    like the lake: no table format and none of its jars. The build before is kept for whoever is still
    reading it, but not by a full refresh, which an erasure ends with. All others are dropped, also those
    that a killed run left.
#}

{# The relation of the build that this run makes of `this`. #}
{% macro new_build(part='') -%}
    {%- set at = run_started_at.strftime('%Y%m%d%H%M%S') ~ invocation_id[:4] -%}
    {{ return(this.incorporate(path={'identifier': this.identifier ~ '__b' ~ at ~ part}, type='table')) }}
{%- endmacro %}

{# The build that the view shows, by its name; none if there is no such view. #}
{% macro shown_build() -%}
    {%- set view = load_cached_relation(this) -%}
    {%- if view is none or not view.is_view -%}{{ return(none) }}{%- endif -%}
    {%- set text = run_query('show create table ' ~ this).columns[0].values()[0] -%}
    {%- set found = modules.re.search(this.identifier ~ '__b[0-9]{14}[0-9a-f]{4}', text) -%}
    {{ return(found.group(0) if found else none) }}
{%- endmacro %}

{% macro show_build(build, before) -%}
    {%- set old = load_cached_relation(this) -%}
    {%- if old is not none and not old.is_view -%}{%- do adapter.drop_relation(old) -%}{%- endif -%}
    {%- call statement('show') -%}
        create or replace view {{ this }} as select * from {{ build }}
    {%- endcall -%}
    {%- for row in run_query("show tables in " ~ this.schema ~ " like '" ~ this.identifier ~ "__b*'").rows -%}
        {%- if row['tableName'] not in (build.identifier, none if flags.FULL_REFRESH else before) -%}
            {%- do run_query('drop table if exists ' ~ this.schema ~ '.' ~ row['tableName']) -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}

{% materialization table, adapter='spark', supported_languages=['sql'] %}
    {%- set build, before = new_build(), shown_build() -%}
    {{ run_hooks(pre_hooks) }}
    {%- call statement('main') -%}{{ create_build(build, compiled_code) }}{%- endcall -%}
    {%- do show_build(build, before) -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [this.incorporate(type='view')]}) }}
{% endmaterialization %}

{# As delete+insert: of the rows that stand, those with a key that comes anew are left out. Costs one
   read and one write of the table and no shuffle, because Spark broadcasts the few new keys. #}
{% materialization incremental, adapter='spark', supported_languages=['sql'] %}
    {%- set key = config.require('unique_key') -%}
    {%- set build, before, continues = new_build(), shown_build(), is_incremental() -%}
    {{ run_hooks(pre_hooks) }}
    {%- if continues -%}
        {%- set fresh = new_build('__new') -%}
        {%- call statement('new') -%}{{ create_build(fresh, compiled_code) }}{%- endcall -%}
        {%- set columns = adapter.get_columns_in_relation(this) | map(attribute='name') | list -%}
        {%- if columns != adapter.get_columns_in_relation(fresh) | map(attribute='name') | list -%}
            {{ exceptions.raise_compiler_error(
                'the columns of ' ~ this ~ ' are not those of its table: run `ctwa refresh --full`'
            ) }}
        {%- endif -%}
        {%- set continued -%}
            select kept.*
            from {{ this }} as kept
            where not exists (select 1 from {{ fresh }} as fresh where fresh.{{ key }} = kept.{{ key }})
            union all
            select * from {{ fresh }}
        {%- endset -%}
        {%- call statement('main') -%}{{ create_build(build, continued) }}{%- endcall -%}
    {%- else -%}
        {%- call statement('main') -%}{{ create_build(build, compiled_code) }}{%- endcall -%}
    {%- endif -%}
    {%- do show_build(build, before) -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [this.incorporate(type='view')]}) }}
{% endmaterialization %}

{% macro create_build(build, query) -%}
    {%- if config.get('contract').enforced -%}
        {{ get_assert_columns_equivalent(query) }}
        {%- set query = get_select_subquery(query) -%}
    {%- endif -%}
    create table {{ build }} using parquet as {{ query }}
{%- endmacro %}

{# On Spark the name of an incremental model is a view. #}
{% macro is_incremental() -%}
    {%- if not execute or target.type != 'spark' -%}{{ return(dbt.is_incremental()) }}{%- endif -%}
    {{ return(
        model.config.materialized == 'incremental'
        and not should_full_refresh()
        and ctwa.shown_build() is not none
    ) }}
{%- endmacro %}

{# The view leaves the rows out until this run's build stands. What is already left out is left out
   again: a condition looks at the tables of this run. #}
{% macro spark__delete_from_this(condition) -%}
    create or replace view {{ this }} as
    select * from {{ this.schema }}.{{ shown_build() }} where not coalesce({{ condition }}, false)
{%- endmacro %}

{# dbt-spark puts the values of seeds between quotes as they are: a quote in a value breaks the
   statement, a null becomes the text `None`, and a decimal goes through a float. #}
{% materialization seed, adapter='spark' %}
    {%- set rows, types = load_agate_table(), config.get('column_types', {}) -%}
    {%- do store_result('agate_table', response='OK', agate_table=rows) -%}
    {%- set build, before = new_build(), shown_build() -%}
    {%- set columns, lines = [], [] -%}
    {%- for name in rows.column_names -%}
        {%- set type = ctwa.spark_type(types.get(name, 'string')) -%}
        {%- do columns.append('cast(' ~ name ~ ' as ' ~ type ~ ') as ' ~ name) -%}
    {%- endfor -%}
    {%- for row in rows.rows -%}
        {%- set cells = [] -%}
        {%- for value in row -%}
            {%- do cells.append(
                'null' if value is none
                else "'" ~ (value | string | replace('\\', '\\\\') | replace("'", "\\'")) ~ "'"
            ) -%}
        {%- endfor -%}
        {%- do lines.append('(' ~ cells | join(', ') ~ ')') -%}
    {%- endfor -%}
    {%- set none_at_all = '(' ~ (['null'] * columns | length) | join(', ') ~ ')' -%}
    {{ run_hooks(pre_hooks) }}
    {%- call statement('main') -%}
        create table {{ build }} using parquet as
        select {{ columns | join(', ') }}
        from values {{ lines | join(', ') or none_at_all }} as given ({{ rows.column_names | join(', ') }})
        {{ 'where false' if not lines }}
    {%- endcall -%}
    {%- do show_build(build, before) -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [this.incorporate(type='view')]}) }}
{% endmaterialization %}
