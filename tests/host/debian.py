"""The Debian package out of the metadata of Cargo.toml, as `make deb` builds it by cargo-deb: here by dpkg-deb, which
takes a second, and with the binary of the tests."""

import shutil
import subprocess
import tomllib
from pathlib import Path


def build(root: Path, program: Path, folder: Path) -> Path:
    cargo = tomllib.loads((root / "Cargo.toml").read_text())["package"]
    meta = cargo["metadata"]["deb"]
    staged = folder / "staged"
    for source, target, mode in meta["assets"]:
        path = staged / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(program if source == "target/release/hotset" else root / source, path)
        path.chmod(int(mode, 8))
    control = staged / "DEBIAN"
    control.mkdir()
    for script in ("preinst", "postinst", "prerm", "postrm"):
        source = root / meta["maintainer-scripts"] / script
        if source.exists():
            shutil.copyfile(source, control / script)
            (control / script).chmod(0o755)
    (control / "conffiles").write_text("".join(f"{path}\n" for path in meta["conf-files"]))
    description = "".join(f" {line}\n" for line in meta["extended-description"].splitlines())
    fields = {
        "Package": cargo["name"],
        "Version": f"{cargo['version']}-1",
        "Architecture": subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip(),
        "Maintainer": meta["maintainer"],
        "Section": meta["section"],
        "Priority": meta["priority"],
        # cargo-deb asks dpkg-shlibdeps, which knows the version that is needed.
        "Depends": meta["depends"].replace("$auto", "libc6"),
        "Recommends": meta["recommends"],
        "Description": cargo["description"],
    }
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    (control / "control").write_text(text + description)
    package = folder / f"hotset_{fields['Version']}_{fields['Architecture']}.deb"
    # Not compressed: it is installed once.
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", staged, package], check=True)
    return package
