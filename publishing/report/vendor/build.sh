#!/bin/sh
# Builds charts.min.js and tables.min.js again from npm, at the versions of package.json.
# Needs node and npm; the report itself does not.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here"/package.json "$here"/*.entry.js "$work"
cd "$work"
npm install --silent --no-package-lock --no-audit --no-fund
# The licences ask that copies name them; the files go into every report.
charts_banner="/*! Apache ECharts 6.1.0, Apache-2.0, Copyright The Apache Software Foundation; zrender 6.1.0, BSD-3-Clause, Copyright (c) 2017, Baidu Inc.; tslib 2.3.0, 0BSD */"
tables_banner="/*! TanStack Table 9.3.1 and TanStack Store 0.11.2, MIT, Copyright (c) Tanner Linsley */"
for part in charts tables; do
  eval "banner=\$${part}_banner"
  node_modules/.bin/esbuild "$part.entry.js" --bundle --minify --format=iife --target=es2020 \
    --global-name="$part" --define:process.env.NODE_ENV='"production"' --charset=ascii \
    --banner:js="$banner" --legal-comments=none --log-level=warning --outfile="$here/$part.min.js"
done
licence() { cp "node_modules/$1" "$here/$2"; }
licence echarts/LICENSE LICENSE.echarts
licence echarts/NOTICE NOTICE.echarts
licence zrender/LICENSE LICENSE.zrender
licence tslib/LICENSE.txt LICENSE.tslib
licence @tanstack/table-core/LICENSE LICENSE.tanstack-table
licence @tanstack/store/LICENSE LICENSE.tanstack-store
cd "$here" && sha256sum charts.min.js tables.min.js > SHA256SUMS
