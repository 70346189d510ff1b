// Package template is a hub to copy for a new ecosystem. It speaks a protocol that
// nobody does, and has every part that most of them need: an index with links and
// digests, files here and on a second host, and nothing else.
//
//	/index/NAME      a line a version: VERSION SHA256 LINK
//	/files/…         files of the repository itself
//	/_f/ALIAS/…      files of a second host (options.files)
//
// # Adding an ecosystem
//
// First look, then write. Run the real client against a directory served by any
// web server and log every request: method, path as it is spelled, and header.
// Most surprises are there. A client asks for one name in two spellings; it asks
// for what is not there, and falls back; it wants links absolute, or relative; it
// sends no-cache with everything. Cut a transfer, answer 404, 403, 429 and 502, and
// see what it does: some believe a 404 for a day, so a failure must never be one.
//
// Then say of each path what it is, in a table such as the one above:
//
//   - immutable: the name says the content (a version, a digest). It is never asked
//     for again, so it must be certain. When in doubt it is not.
//   - mutable: for how long is an old answer good, when nobody is asked?
//   - passthrough: searches, and what is for one client.
//   - none: [hub.NoPath], a 404. Be narrow. A path that the protocol does not
//     have is a way to make a proxy fetch things.
//
// A type is small: most of what follows is done by package hub, and what is left is
// what nobody but this protocol does. The template has 100 lines of code, comments not
// counted, and half of the types have less than 250. Where one grows beyond, look
// whether it has a reader of a foreign format in it, which belongs into a package below
// pkgs/format, or does what another type does too, which belongs into package hub.
//
// Parse is that table. It makes the Key, which decides what is shared, and the
// Target, which is what mirrors are asked for. [hub.Options.Asked] reads both from the
// client's URL, those of second hosts too; a function of the type's own, here
// classify, says of which kind the path is; [hub.Asked.Request] makes the exchange of
// it, as the table of kinds has it: class, lifetime, whether a query counts. What is
// no path of the protocol is [hub.NoPath]. Whatever else of the client's request is not
// put into the exchange.Request by hand does not go upstream. Where a header selects a
// representation (Accept), reduce it to the few values that matter, put that into
// Key.Variant, and send it in Request.Header. A Key's own path must parse to that Key
// again, since peers and the admin ask by it. Where the path names a digest (as in oci
// and cargo), Request.Digest is all that is needed for content to be proved.
//
// Rewrite is what differs for a client: links in an index that must lead back to
// the hub. Most files are none of its business: return next.Get. For an index:
//
//   - [hub.Options.Copied] answers with it. One function of the type's, here copy, copies
//     an index from where it was to who gets it: links become what [hub.Copy.Map] or
//     [hub.Copy.Lead] makes of them, and what the index says of the content behind them
//     is told to [hub.Copy.Tell]. Copied keeps the changed text; the cache below has the
//     original, so a mended rewriter needs no purge: change the text of its rules.
//   - [hub.Links] map links. Never make one up from a name, never take a host from a
//     path; what leads elsewhere stays as it is. [hub.Follow] says what a client asks for
//     that follows one, and so under which key its content is known.
//   - Stream. [hub.CopyJSON] and the HTML reader beside it change values in place
//     and leave every other byte alone: clients depend on order, on numbers, on
//     fields that you have not heard of. [hub.JSONInto], [hub.JSONChange], [hub.JSONSet]
//     and [hub.JSONEnd] are most of the rules that one needs. What does not parse is an
//     error, and so a 502, never a text that passes unchanged.
//   - Signed text must not be changed at all. If its links are absolute, the client
//     needs another way to the hub. An index, its signature and what it lists fit
//     only each other: [hub.Generations] keeps such sets together.
//
// An index that passes as it is teaches by [hub.Options.Learn], which reads it once,
// behind the client. The cache then proves content by it, whichever mirror it comes
// from, and never remembers that it is not there. This is what makes racing strangers safe;
// an ecosystem without digests races only mirrors that one would trust alone. Immutable
// content is proved so; where the name of what is listed is mutable, [hub.Lists] pins
// it to the list. An index that names no digest of the whole file may have another
// proof: write it as a [hash.Hash] under an algorithm of its own ([hub.NewHash]; package
// apk), give
// the algorithm a kind in package ledger, and put it into the table hashes of
// server_distributions.go.
//
// A hub may be three things more, each an interface of package hub. Gatekeeper: an
// answer must be judged before it is stored, or where to ask is known only from
// other content (gomod, maven, cargo). Refuser: its clients read errors in a form
// of their own. Poster: they send a body. A Gate is asked by the cache with no
// client waiting in particular: it must not ask for the key it is asked for, and
// what it refuses is an [*exchange.Error] of 502, as the mirror's fault.
// [hub.Options.Judged] asks one mirror after the other until content is right:
// [hub.BeginsWith] and [hub.Beginning] look at its first bytes, [hub.Newest] at a date in
// it. [hub.Consult] reads an index by which something else is decided, and
// [hub.Options.Stored] is what the cache has, for a comparison.
//
// Members are upstreams of one hub with different content (upstream[].member): an
// operator's own repository beside a public one. A type need not know of them: they
// are asked in order, and names that are private to one (upstream[].private) are
// paths, and what Request.Package says, so let Parse set that wherever a path names
// a package, for files of second hosts too. A type with a spelling of its own for
// names gets a line in the table spellings of server_members.go. With
// [hub.Indexer], which is one method, what a private member has under a name is
// nobody else's: Index makes the request that tells whether a member has the
// package, mostly by [hub.IndexAt]. With [hub.Merger] the indexes of several members
// become one: Merge writes it, the first member's versions before the others', and
// [hub.MergeJSON] does that for JSON, [hub.PartLines] for lines. What else carries
// names upstream, a search or the body of a POST, asks [hub.Members.Owned] first, or
// [hub.Members.Sought] of a query; a path that tells no name for certain asks
// [hub.Members.Suspect].
// Where to ask is known only from other content, and differs between members
// (cargo): Request.Member is the one to ask, and [hub.Members.InOrder] asks them.
//
// Then make it known: a line in the table hubs of server_hubs.go; its name in the tag
// hub of those options of HubOptions (config_hubs.go) that it reads, and beside them
// in config.yaml, where a test looks for it, and in the README's table.
//
// Tests, in the order in which they find mistakes: hubtest.Run with one Sample of each
// path class; a table of paths and classes; a fuzz test of Parse and of whatever
// reads foreign bytes; scripts in testdata, which run against a whole server
// (TestHubScripts): a miss, a hit, a stale copy with the mirror down, a hostile
// index, a wrong file; and the real client in cmd/cache-proxy/e2e_NAME_test.go, whose
// second run, from an empty machine and with the mirrors stopped, is the proof.
package template
