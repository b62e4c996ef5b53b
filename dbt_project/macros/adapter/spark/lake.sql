{#
    The sources are Parquet files of the lake, which Spark is given as views: `external_location` of
    each, in Spark's words. `0.schema.parquet` gives every folder all its columns; for that the session
    merges schemas. `CTWA_LAKE_PATH` is the lake as the cluster sees it. A view keeps the columns that it
    was made with, so all are made again before a full refresh, which new columns come with. Run as an
    operation, before a build.
#}
{% macro show_lake(full) -%}
    {%- for schema in graph.sources.values() | map(attribute='schema') | unique -%}
        {%- do create_schema(api.Relation.create(schema=schema)) -%}
    {%- endfor -%}
    {%- for node in graph.sources.values()
        if full or adapter.get_relation(none, node.schema, node.identifier) is none -%}
        {%- set files = modules.re.sub(
            "read_parquet\\('([^']*)'[^)]*\\)", 'parquet.`\\1`', node.meta.external_location
        ) | replace('{name}', node.name) -%}
        {%- do run_query(
            'create or replace view ' ~ node.schema ~ '.' ~ node.identifier ~ ' as select * from ' ~ files
        ) -%}
    {%- endfor -%}
{%- endmacro %}

{# Where builds lie, if not where the cluster puts them by itself. The mark says that what is in it
   is ours to drop (orchestration/spark_session.py). #}
{% macro spark__create_schema(relation) -%}
    {%- set path = env_var('CTWA_ENGINE_PATH', '') -%}
    {%- call statement('create_schema') -%}
        create schema if not exists {{ relation.schema }}
        {%- if path %} location '{{ path }}/{{ relation.schema }}'{% endif %}
        with dbproperties ('ctwa.made' = 'yes')
    {%- endcall -%}
{%- endmacro %}
