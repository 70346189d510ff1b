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
//   - none: [fs.ErrNotExist], a 404. Be narrow. A path that the protocol does not
//     have is a way to make a proxy fetch things.
//
// Parse is that table. It makes the Key, which decides what is shared, and the
// Target, which is what mirrors are asked for: [hub.Path] gives both, and
// [hub.Options.Request] makes the exchange of them. Whatever else
// of the client's request is not put into the exchange.Request by hand does not go
// upstream. Where a header selects a representation (Accept), reduce it to the few
// values that matter, put that into Key.Variant, and send it in Request.Header.
// A Key's own path must parse to that Key again, since peers and the admin ask by
// it. Where the path names a digest (as in oci and cargo), Request.Digest is all
// that is needed for content to be proved.
//
// Rewrite is what differs for a client: links in an index that must lead back to
// the hub. Most files are none of its business: return next.Get. For an index:
//
//   - [hub.Options.Edited] serves and keeps the changed text. The cache below has the
//     original, so a mended rewriter needs no purge: change the text of its rules.
//   - [hub.Links], as [hub.Options.Links] makes them, map links. Never make one up from
//     a name, never take a host from a path; what leads elsewhere stays as it is.
//   - Stream. [hub.CopyJSON] and the HTML reader beside it change values in place
//     and leave every other byte alone: clients depend on order, on numbers, on
//     fields that you have not heard of. What does not parse is an error, and so a
//     502, never a text that passes unchanged.
//   - Signed text must not be changed at all. If its links are absolute, the client
//     needs another way to the hub. An index, its signature and what it lists fit
//     only each other: [hub.Generations] keeps such sets together.
//
// While an index passes, teach what it says: ledger.Learn reads it once, behind the
// client, and the cache then proves content by it, whichever mirror it comes from.
// This is what makes racing strangers safe; an ecosystem without digests races
// only mirrors that one would trust alone. Immutable content is proved so; where
// the name of what is listed is mutable, [hub.Lists] pins it to the list. An index
// that names no digest of the whole file may have another proof: write it as a
// [hash.Hash] under an algorithm of its own (package apk), give the algorithm a
// kind in package ledger, and put it into the table hashes of server_distributions.go.
//
// A hub may be three things more, each an interface of package hub. Gatekeeper: an
// answer must be judged before it is stored, or where to ask is known only from
// other content (gomod, maven, cargo). Refuser: its clients read errors in a form
// of their own. Poster: they send a body. A Gate is asked by the cache with no
// client waiting in particular: it must not ask for the key it is asked for, and
// what it refuses is an [*exchange.Error] of 502, as the mirror's fault.
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
// package. With [hub.Merger] the indexes of several members become one: Merge
// writes it, the first member's versions before the others'. What else carries
// names upstream, a search or the body of a POST, asks [hub.Members.Owned] first, or
// [hub.Members.Sought] of a query; a path that tells no name for certain asks
// [hub.Members.Suspect].
// Where to ask is known only from other content, and differs between members
// (cargo): Request.Member is the one to ask.
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
