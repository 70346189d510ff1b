#!/bin/sh
# Says whether apt should ask the cache @BASE@ for a URL, or go there itself: it
# prints the proxy, or DIRECT if the cache does not answer or has no mirror of it.
#
#   curl -fsS @BASE@/-/apt-proxy-detect -o /etc/apt/cache-proxy-detect
#   chmod 755 /etc/apt/cache-proxy-detect
#   echo 'Acquire::http::Proxy-Auto-Detect "/etc/apt/cache-proxy-detect";' >/etc/apt/apt.conf.d/30cache-proxy

BASE='@BASE@'
HOSTS='@HOSTS@'

answers() {
	if command -v curl >/dev/null 2>&1; then
		curl -fs --noproxy '*' --max-time 2 -o /dev/null "$1"
	elif command -v wget >/dev/null 2>&1; then
		no_proxy='*' wget -q -O /dev/null "$1"
	else
		/usr/lib/apt/apt-helper -o Acquire::http::Proxy=DIRECT -o Acquire::http::Proxy-Auto-Detect= \
			-o Acquire::http::Timeout=2 -o Acquire::Retries=0 download-file "$1" /dev/null >/dev/null 2>&1
	fi
}

main() {
	host=${1#*://}
	host=${host%%/*}
	host=${host%:80}
	case " $HOSTS " in
	*" $host "*)
		if answers "$BASE/-/healthz"; then
			echo "$BASE"
			return
		fi
		;;
	esac
	echo DIRECT
}

main "$1"
