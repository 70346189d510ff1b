"""What a test needs of conda: conda.py build DIR | install CHANNEL PREFIX CACHE SPEC."""
import asyncio, hashlib, io, json, os, sys, tarfile


def build(folder):
    packages = {}
    for name, depends in (("leaf", []), ("lib", ["leaf"])):
        files = {
            "share/%s.txt" % name: b"payload of " + name.encode(),
            "info/index.json": json.dumps({"name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": depends,
                                           "noarch": "generic", "subdir": "noarch", "arch": None, "platform": None}).encode(),
            "info/files": b"share/%s.txt\n" % name.encode(),
        }
        files["info/paths.json"] = json.dumps({"paths_version": 1, "paths": [{
            "_path": "share/%s.txt" % name, "path_type": "hardlink", "size_in_bytes": len(files["share/%s.txt" % name]),
            "sha256": hashlib.sha256(files["share/%s.txt" % name]).hexdigest()}]}).encode()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:bz2") as archive:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        content, file = packed.getvalue(), name + "-1.0-0.tar.bz2"
        with open(os.path.join(folder, file), "wb") as f:
            f.write(content)
        packages[file] = {"name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": depends, "noarch": "generic", "subdir": "noarch",
                          "timestamp": 1700000000000, "size": len(content),
                          "md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
    with open(os.path.join(folder, "repodata.json"), "w") as f:
        json.dump({"info": {"subdir": "noarch"}, "packages": packages, "packages.conda": {}, "removed": [], "repodata_version": 1}, f)


async def install(channel, prefix, cache, spec):
    import rattler
    gateway = rattler.Gateway(cache_dir=os.path.join(cache, "repodata"))
    records = await rattler.solve([rattler.Channel(channel)], [spec], gateway=gateway, platforms=["noarch"])
    await rattler.install(records, prefix, cache_dir=os.path.join(cache, "packages"), show_progress=False)


if sys.argv[1] == "build":
    build(sys.argv[2])
else:
    asyncio.run(install(*sys.argv[2:]))
    os._exit(0)  # the library's threads crash now and then while the interpreter goes away
