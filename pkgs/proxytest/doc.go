// Package proxytest tests a caching proxy from outside: an [Origin] that
// misbehaves on demand, a strict client, and scripts that a newcomer can read.
//
// An Origin is an HTTP/1.1 server on loopback whose every answer is a [Reply]:
// status, fields, content, framing, and the fault that befalls it on the way.
// It counts what it was asked. A [Body] is content known by its recipe, so that
// a gibibyte costs no memory and both ends agree on its digest.
//
// [Run] runs every script of a directory, each against a proxy of its own. A
// script is a configuration, followed by lines that are carried out in order:
//
//	# F1: a body that is cut is never stored
//	config
//	  cache: {timeout: 1h}
//	origin a GET /left-pad.tgz 200 etag="v1" body=random:100000 cut=2000
//	GET /left-pad.tgz
//	fails                         # the transfer ended visibly
//	not-stored /left-pad.tgz
//
// # Lines
//
// Words are separated by blanks; "double quotes" and [brackets] hold blanks
// together; # behind a blank starts a comment. ${a} is the base URL of origin a,
// ${data} the data directory.
//
// The indented lines below config are YAML. Where they have neither an upstream
// nor a hubs section, every origin of the script becomes an upstream, in order
// of appearance. The start function adds what a script cannot know: the data
// directory, the clock.
//
// What origins do:
//
//	origin NAME METHOD PATH STATUS [Field: value]... key=value...
//	    from now on the reply to that request; PATH * is every other path, a
//	    query in PATH must match, a GET line answers HEAD too. Keys:
//	      body=BODY                 default empty
//	      etag=V modified=TIME type=V location=URL      fields; TIME is RFC 3339
//	      framing=length|chunked|close|http10
//	      claim=N                   the Content-Length, whatever the body has
//	      flip=N                    one bit of byte N is wrong
//	      cut=N reset=N stall=N     after N bytes of content: FIN, RST, or no more
//	      delay=DURATION rate=N     before the head; bytes a second
//	      ranges=off conditional=off
//	      times=N                   for N requests; the next line says what follows
//	origin NAME down | up | silent  silent: accepts, reads, never answers
//	release NAME PATH               stalled transfers of PATH go on; there must be one
//
// What clients do:
//
//	GET PATH [Field: value]...      or any other method
//	parallel N GET PATH ...         at once; the checks below hold for each
//	begin C GET PATH ...            in the background, as client C
//	await C N                       until C has N bytes of content
//	finish C                        until it is done; the checks are about C
//	abort C                         it hangs up
//	raw "BYTES"                     as a Go string, on a connection of its own
//
// A transfer that fails is an error, unless the next lines say fails. Checks of
// the last request:
//
//	status N...                     one of them
//	header NAME is|contains|matches VALUE, header NAME absent|present
//	body BODY [FROM-TO]             the content, or that part of a larger one
//	parts BODY FROM-TO...           multipart/byteranges
//	fails [reset]
//	until BODY METHOD PATH          again and again, for what is learned behind a client
//	within DURATION, first-byte within DURATION
//
// What happened:
//
//	hits NAME PATH N                requests that came in, HEAD included
//	bodies NAME PATH N              of them, those that got content
//	sent NAME PATH header ...       fields of the last one, as for header above
//	stored PATH [BODY]              a file in the data directory
//	not-stored PATH, no-temp
//
// What else happens:
//
//	advance DURATION                the proxy's clock
//	file PATH BODY, remove PATH     in the data directory
//	restart
//
// BODY is empty, random:SIZE, random:SIZE:SEED, or the text itself.
//
// hits, bodies, stored and no-temp wait a little for what they state: a proxy may do
// its book-keeping behind the answer.
//
// The package imports nothing of this module and is imported by tests only.
package proxytest
