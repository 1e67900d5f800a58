#!/usr/bin/env bash
# Installs the Kafka clients, Spark, the table readers and the real Kafka broker that test/conformance runs, from Debian, PyPI and Maven, and prints the folder
# that holds them. What is there already is left as it is: another version in this file or in the poms means another folder.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
poms="$here/../test/conformance/jars"

python_packages=(kafka-python==3.0.12 confluent-kafka==2.16.1 pyspark==4.1.3 lz4==4.4.5 python-snappy==0.7.3 zstandard==0.25.0)
# The readers of examples/readers. The extensions' version is DuckDB's; pandas 3 is more than PySpark 4.1 takes.
python_packages+=("pyiceberg[pyarrow]==0.12.0" pyiceberg-core==0.10.1 pyarrow==26.0.1 pandas==2.3.3 polars==2.1.0 duckdb==1.5.5 duckdb-extension-iceberg==1.5.5 duckdb-extension-avro==1.5.5 duckdb-extension-httpfs==1.5.5)
python=/usr/bin/python3

install_debian_packages() {
  if command -v kcat >/dev/null && command -v ab >/dev/null && command -v javac >/dev/null && command -v mvn >/dev/null &&
    "$python" -c 'import ensurepip, flask, kafka, lz4, snappy, venv, zstandard' 2>/dev/null; then return; fi
  if [ "$(id -u)" != 0 ]; then
    echo "the real clients are needed: install apache2-utils, kcat, maven, openjdk-17-jdk-headless, python3-flask, python3-kafka, python3-lz4, python3-snappy, python3-venv and python3-zstandard, or run this as root" >&2
    return 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends apache2-utils kcat maven openjdk-17-jdk-headless python3-flask python3-kafka python3-lz4 \
    python3-snappy python3-venv python3-zstandard
}

install_python_packages() {
  "$python" -m venv "$1/venv"
  # PySpark comes as a source archive: with wheel it is built the way that pip keeps.
  "$1/venv/bin/pip" install -q --disable-pip-version-check wheel==0.45.1
  "$1/venv/bin/pip" install -q --disable-pip-version-check "${python_packages[@]}"
}

install_jars() {
  mvn -q -B -ntp -f "$poms/pom.xml" -Djars.folder="$1/jars" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies
}

# Standard output is for the folder alone.
exec 3>&1 1>&2
install_debian_packages
version="$(cat "${BASH_SOURCE[0]}" "$poms"/*.xml | sha256sum | cut -c 1-12)"
folder="${QUESTLOG_CLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/questlog-clients}/$version"
mkdir -p "$(dirname "$folder")"
# One installs, whoever comes meanwhile waits for it.
exec 9>"$folder.lock"
flock 9
if [ ! -e "$folder/complete" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  install_jars "$folder" &
  jars=$!
  install_python_packages "$folder"
  wait "$jars"
  touch "$folder/complete"
fi
echo "$folder" >&3
