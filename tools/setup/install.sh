#!/bin/sh
# Installs what a group of tasks needs, or says exactly what is missing.
#
#   tools/setup/install.sh [--check] GROUP...      groups: build test versus guard fuzz python
#
# As root on a Debian-like system missing packages are installed with apt-get; no service is started, and units that
# came with them stay disabled. Anywhere else, and always with --check, missing things are listed and the exit code is 1.
# Packages of Python and Node.js go to target/setup, never into the system; what uses them sets PYTHONPATH or names the folder.
set -eu

usage() {
	sed -n '2,8s/^# \{0,1\}//p' "$0"
}

# One line for each need: group, Debian package, and how to see that it is there (a command, or the path of a file).
needs() {
	cat <<-'TABLE'
		build gcc cc
		build make make
		test haproxy haproxy
		test mosquitto mosquitto
		test mosquitto-clients mosquitto_pub
		test redis-server redis-server
		test redis-tools redis-cli
		test memcached memcached
		test python3 python3
		test strace strace
		test python3-pip pip3
		test nodejs node
		test npm npm
		versus haproxy haproxy
		versus nginx-light nginx
		versus libnginx-mod-stream /usr/lib/nginx/modules/ngx_stream_module.so
		versus strace strace
		versus wrk wrk
		guard valgrind valgrind
		fuzz g++ c++
		python python3 python3
		python python3-pip pip3
	TABLE
}

# Python packages of a group: group, requirement, path below target/setup/python that proves it.
python_needs() {
	cat <<-'TABLE'
		test paho-mqtt==2.1.0 paho_mqtt-2.1.0.dist-info
		python paho-mqtt==2.1.0 paho_mqtt-2.1.0.dist-info
	TABLE
}

# Packages for Node.js of a group: group, package, path below target/setup/node that proves it.
node_needs() {
	cat <<-'TABLE'
		test mqtt@5.14.1 node_modules/mqtt/package.json
	TABLE
}

present() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

wanted() {
	case " $groups " in *" $1 "*) return 0 ;; esac
	return 1
}

missing_packages() {
	needs | while read -r group package probe; do
		if wanted "$group" && ! present "$probe"; then echo "$package"; fi
	done | sort -u
}

missing_python() {
	python_needs | while read -r group requirement proof; do
		if wanted "$group" && ! [ -e "$python_directory/$proof" ]; then echo "$requirement"; fi
	done | sort -u
}

# A package of another version than the one wanted is missing, too.
missing_node() {
	node_needs | while read -r group requirement proof; do
		if wanted "$group" && ! grep -q "\"version\": \"${requirement#*@}\"" "$node_directory/$proof" 2>/dev/null; then
			echo "$requirement"
		fi
	done | sort -u
}

# Installs packages without starting their services: invoke-rc.d asks policy-rc.d, which says no as long as this runs.
install_packages() {
	policy=/usr/sbin/policy-rc.d
	if ! [ -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		trap 'exit 1' HUP INT TERM
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	running_before=$(running_services)
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086 # package names are single words
	apt-get install -y -qq --no-install-recommends $1
	quiet_services "$running_before" "$1"
}

running_services() {
	command -v systemctl >/dev/null 2>&1 || return 0
	systemctl list-units --type=service --state=running --plain --no-legend 2>/dev/null | cut -d' ' -f1 || true
}

# A policy of the system's own may have allowed a start: stop exactly what was not running before. Units of the new
# packages are disabled, so that the next boot does not start them either.
quiet_services() {
	command -v systemctl >/dev/null 2>&1 || return 0
	for package in $2; do
		for unit in $(dpkg -L "$package" 2>/dev/null | sed -n 's|.*/systemd/system/\([^/@]*\.service\)$|\1|p'); do
			systemctl disable "$unit" >/dev/null 2>&1 || true
			if ! printf '%s\n' "$1" | grep -qx "$unit" && systemctl is-active --quiet "$unit" 2>/dev/null; then
				systemctl stop "$unit"
			fi
		done
	done
}

install_python() {
	mkdir -p "$python_directory"
	# shellcheck disable=SC2086 # requirements are single words
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$python_directory" $1
}

install_node() {
	mkdir -p "$node_directory"
	[ -e "$node_directory/package.json" ] || echo '{ "private": true }' >"$node_directory/package.json"
	# shellcheck disable=SC2086 # requirements are single words
	npm install --loglevel=error --no-audit --no-fund --no-update-notifier --ignore-scripts --prefix "$node_directory" $1
}

check=no
groups=
for argument in "$@"; do
	case $argument in
	--check) check=yes ;;
	build | test | versus | guard | fuzz | python) groups="$groups $argument" ;;
	-h | --help) usage && exit 0 ;;
	*) echo "install.sh: unknown argument '$argument'" >&2 && usage >&2 && exit 2 ;;
	esac
done
[ -n "$groups" ] || { usage >&2 && exit 2; }

# Daemons live where an ordinary user's PATH does not look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
root=$(cd "$(dirname "$0")/../.." && pwd)
python_directory=${CARGO_TARGET_DIR:-$root/target}/setup/python
node_directory=${CARGO_TARGET_DIR:-$root/target}/setup/node

packages=$(missing_packages)
if [ -n "$packages" ]; then
	if [ "$check" = no ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		echo "installing:" $packages
		install_packages "$(echo $packages)"
		packages=$(missing_packages)
	fi
fi
requirements=$(missing_python)
if [ -n "$requirements" ] && [ "$check" = no ] && present python3; then
	if python3 -m pip --version >/dev/null 2>&1; then
		echo "installing into $python_directory:" $requirements
		install_python "$(echo $requirements)"
		requirements=$(missing_python)
	fi
fi
modules=$(missing_node)
if [ -n "$modules" ] && [ "$check" = no ] && present npm; then
	echo "installing into $node_directory:" $modules
	install_node "$(echo $modules)"
	modules=$(missing_node)
fi
if [ -n "$packages$requirements$modules" ]; then
	[ -z "$packages" ] || echo "missing, as Debian calls them:" $packages >&2
	[ -z "$requirements" ] || echo "missing from $python_directory (pip install --target):" $requirements >&2
	[ -z "$modules" ] || echo "missing from $node_directory (npm install --prefix):" $modules >&2
	exit 1
fi
