#!/usr/bin/env bash
# Apache Spark on this machine, on loopback only, for tests and to try CTWA_ENGINE=spark:
# a standalone master, workers of one core, and a Spark Connect server with a catalogue that persists.
#
#   deploy/spark/cluster.sh up FOLDER [WORKERS]   start (2 workers); 0 workers: all in the server
#   deploy/spark/cluster.sh master FOLDER         start the master (again): it finds workers and server
#   deploy/spark/cluster.sh worker FOLDER N       start worker N (again)
#   deploy/spark/cluster.sh connect FOLDER        start the Connect server (again)
#   deploy/spark/cluster.sh down FOLDER           end what is left of it
#
# Needs Java 17 (Debian: openjdk-17-jre-headless) and `make setup-spark`. FOLDER gets pids, logs, the
# catalogue and the builds; it is all there is to delete afterwards.
#
#   SPARK_PORT      of Connect (15002); master and web pages take the ports after it
#   SPARK_MEMORY    heap of the server and of each worker's executor (1g)
#   SPARK_SCRATCH   folder of shuffle files (FOLDER/scratch)
#   SPARK_OPTIONS   more options of spark-submit for the server, such as --conf name=value
#   SPARK_SERVER_JAVA_OPTIONS   more options of the server's Java
#   METASTORE_URL   jdbc:postgresql://host:port/database?user=…&password=… instead of a file in FOLDER;
#                   METASTORE_JAR is then the driver (Debian: libpostgresql-jdbc-java)
set -euo pipefail

command=${1:?up, master, worker, connect or down}
folder=$(mkdir -p "${2:?a folder}" && cd "$2" && pwd)
here=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
port=${SPARK_PORT:-15002}
memory=${SPARK_MEMORY:-1g}
master=spark://127.0.0.1:$((port + 1))

java=${JAVA_HOME:+$JAVA_HOME/bin/}java
command -v "$java" > /dev/null || { echo "there is no $java: install Java 17, as Debian's openjdk-17-jre-headless" >&2; exit 1; }
release=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
[ "${release:-0}" -ge 17 ] || { echo "$java is Java ${release:-?}: Spark 4 needs 17, as Debian's openjdk-17-jre-headless; JAVA_HOME says which is used" >&2; exit 1; }
"$python" -c 'import pyspark' 2> /dev/null || { echo "pyspark is not installed: run make setup-spark" >&2; exit 1; }
SPARK_HOME=$("$python" -c 'import pyspark, pathlib; print(pathlib.Path(pyspark.__file__).parent)')
export SPARK_HOME SPARK_LOCAL_IP=127.0.0.1 SPARK_DAEMON_MEMORY=256m
export SPARK_LOCAL_DIRS=${SPARK_SCRATCH:-$folder/scratch} SPARK_LOG_DIR=$folder SPARK_WORKER_DIR=$folder/work
export PYSPARK_PYTHON=$python
mkdir -p "$folder/scratch" "$folder/work" "$folder/recovery"

start() { # name, text in its log once it is up, command
    local name=$1 text=$2
    shift 2
    # A process group of its own, so that `down` ends what it started, executors too.
    setsid "$@" > "$folder/$name.log" 2>&1 < /dev/null &
    echo $! > "$folder/$name.pid"
    for _ in $(seq 600); do
        grep -aq "$text" "$folder/$name.log" && return
        kill -0 "$(cat "$folder/$name.pid")" 2> /dev/null || break
        sleep 0.2
    done
    echo "$name did not start; the end of $folder/$name.log:" >&2
    tail -n 5 "$folder/$name.log" >&2
    exit 1
}

master() {
    # It writes down who there is: one that is started again would else end all executors it finds.
    SPARK_DAEMON_JAVA_OPTS="-Dspark.deploy.recoveryMode=FILESYSTEM -Dspark.deploy.recoveryDirectory=$folder/recovery" \
        start master 'elected leader' "$SPARK_HOME/bin/spark-class" \
        org.apache.spark.deploy.master.Master --host 127.0.0.1 --port $((port + 1)) --webui-port $((port + 2))
}

worker() {
    start "worker$1" 'Successfully registered' "$SPARK_HOME/bin/spark-class" \
        org.apache.spark.deploy.worker.Worker --host 127.0.0.1 --webui-port $((port + 10 + $1)) \
        --cores 1 --memory "${SPARK_WORKER_MEMORY:-$memory}" --work-dir "$folder/work/$1" "$master"
}

connect() {
    local where=$master catalogue
    [ -f "$folder/master.pid" ] || where='local[2]'
    catalogue=(
        --conf spark.sql.catalogImplementation=hive
        # Tables appear as they are needed. Without constraints: PostgreSQL would have the statement
        # that adds one wait for ever, for the transaction which needs it.
        --conf spark.hadoop.datanucleus.schema.autoCreateSchema=true
        --conf spark.hadoop.datanucleus.schema.autoCreateTables=true
        --conf spark.hadoop.datanucleus.schema.autoCreateColumns=true
        --conf spark.hadoop.datanucleus.schema.autoCreateConstraints=false
        --conf spark.hadoop.hive.metastore.schema.verification=false
    )
    if [ -n "${METASTORE_URL:-}" ]; then
        catalogue+=(
            --driver-class-path "${METASTORE_JAR:-/usr/share/java/postgresql.jar}"
            --conf "spark.hadoop.javax.jdo.option.ConnectionURL=$METASTORE_URL"
            --conf spark.hadoop.javax.jdo.option.ConnectionDriverName=org.postgresql.Driver
        )
    else
        catalogue+=(--conf "spark.hadoop.javax.jdo.option.ConnectionURL=jdbc:derby:;databaseName=$folder/catalogue;create=true")
    fi
    SPARK_DAEMON_MEMORY=$memory start connect 'Spark Connect server started' "$SPARK_HOME/bin/spark-submit" \
        --class org.apache.spark.sql.connect.service.SparkConnectServer --name ctwa \
        --master "$where" --driver-memory "$memory" \
        --driver-java-options "-Dderby.stream.error.file=$folder/derby.log ${SPARK_SERVER_JAVA_OPTIONS:-}" \
        --conf spark.executor.memory="$memory" --conf spark.executor.cores=1 \
        --conf spark.driver.host=127.0.0.1 --conf spark.driver.bindAddress=127.0.0.1 \
        --conf spark.ui.port=$((port + 3)) --conf spark.ui.showConsoleProgress=false \
        --conf spark.connect.grpc.binding.address=127.0.0.1 \
        --conf spark.connect.grpc.binding.port="$port" \
        --conf spark.sql.warehouse.dir="$folder/builds" \
        --conf spark.sql.shuffle.partitions=2 \
        "${catalogue[@]}" ${SPARK_OPTIONS:-} spark-internal
}

case $command in
up)
    workers=${3:-2}
    if [ "$workers" -gt 0 ]; then
        master
        for n in $(seq "$workers"); do worker "$n"; done
    fi
    connect
    echo "Spark is up: CTWA_SPARK_URL=sc://127.0.0.1:$port"
    ;;
master) master ;;
worker) worker "${3:?number}" ;;
connect) connect ;;
down)
    for file in "$folder"/connect.pid "$folder"/worker*.pid "$folder"/master.pid; do
        [ -f "$file" ] || continue
        kill -- "-$(cat "$file")" 2> /dev/null || true
        rm -f "$file"
    done
    rm -rf "$folder/recovery"
    ;;
*) echo "up, master, worker, connect or down" >&2; exit 2 ;;
esac
