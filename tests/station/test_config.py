"""The station's configuration: the demo's loads, and mistakes are named by file, line, key and remedy."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from drivers.cameras.folder import FolderSettings
from drivers.cameras.pylon import PylonSettings
from drivers.settings import accepted_risks
from drivers.sorters.serial import SerialSettings
from simulation.camera import SimulatedSettings
from station.config import ConfigError, Limits, StationConfig, config_model, load_config
from station.config_keys import key_tables
from station.recipe import Recipe

ROOT = Path(__file__).parents[2]
PLANT = """\
station: {name: press-3}
recipe: servo-motor-housing
paths:
  recipes: ../recipes
  engines: ../engines
  journal: var/journal.db
  images: /data/images
  cache: var/cache
camera:
  kind: pylon
  serial: "40012345"
  trigger: software
  exposure_us: 45.5
  line_rate_hz: 21000
  packet_size: 9000
sorter:
  kind: serial
  port: /dev/serial/by-id/usb-robot
"""


def load(tmp_path: Path, text: str) -> StationConfig:
    file = tmp_path / "station.yaml"
    file.write_text(text)
    return load_config(file)


def test_the_demo_is_a_simulated_plant() -> None:
    config = load_config(ROOT / "config" / "demo.yaml")
    assert config.is_simulated
    assert config.simulation is not None
    assert config.paths.recipes == ROOT / "recipes"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rare: {quota_mb: 0}", r"rare.quota_mb.*1"),
        ("rare: {quota_mb: 10}", r"paths.rare.*is missing.*name a folder for the log"),
        ("rare: {audit_good: 2}", r"rare.audit_good"),
        ("rare: {same_as: 2}", r"same_as.*unknown|same_below"),
    ],
)
def test_a_rare_log_that_cannot_be_kept_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, PLANT + text)


@pytest.mark.parametrize("place", ["/data/images", "../recipes/rare", "var/journal.db"])
def test_the_rare_log_has_a_folder_of_its_own(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=r"place of its own|its own path"):
        load(tmp_path, PLANT.replace("  cache: var/cache\n", f"  cache: var/cache\n  rare: {place}\n"))
    config = load(tmp_path, PLANT.replace("  cache: var/cache\n", "  cache: var/cache\n  rare: var/rare\n"))
    assert config.paths.rare == tmp_path / "var" / "rare"


def test_a_real_plant_is_not_simulated(tmp_path: Path) -> None:
    config = load(tmp_path, PLANT)
    assert not config.is_simulated
    assert isinstance(config.camera, PylonSettings)
    assert isinstance(config.sorter, SerialSettings)
    assert config.sorter.port == "/dev/serial/by-id/usb-robot"


def test_the_cell_may_trigger_the_camera_by_wire(tmp_path: Path) -> None:
    text = PLANT.replace("trigger: software", "mode: cell\n  trigger: hardware\n  trigger_line: Line3")
    camera = load(tmp_path, text).camera
    assert isinstance(camera, PylonSettings)
    assert (camera.mode, camera.trigger, camera.trigger_line) == ("cell", "hardware", "Line3")


def test_relative_paths_are_relative_to_the_file_wherever_it_is_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "station.yaml").write_text(
        PLANT.replace("/dev/serial/by-id/usb-robot", "../run/cell")
    )
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("etc/station.yaml"))
    assert config.paths.recipes == tmp_path / "recipes"
    assert config.paths.journal == tmp_path / "etc" / "var" / "journal.db"
    assert config.paths.images == Path("/data/images")
    assert isinstance(config.sorter, SerialSettings)
    assert config.sorter.port == str(tmp_path / "run" / "cell")


@pytest.mark.parametrize("port", ["COM3", "socket://10.0.0.7:4000"])
def test_a_port_that_is_no_path_stays_as_it_is(tmp_path: Path, port: str) -> None:
    sorter = load(tmp_path, PLANT.replace("/dev/serial/by-id/usb-robot", port)).sorter
    assert isinstance(sorter, SerialSettings)
    assert sorter.port == port


def test_each_camera_family_has_its_own_keys(tmp_path: Path) -> None:
    before, after = PLANT.split("camera:\n")
    sorter = after[after.index("sorter:") :]
    folder = "camera: {kind: folder, path: pictures}\n"
    simulated = "camera: {kind: simulated, pool: pool, lose: 0.01}\n"
    camera = load(tmp_path, before + folder + sorter).camera
    assert isinstance(camera, FolderSettings)
    assert camera.path == tmp_path / "pictures"
    assert isinstance(load(tmp_path, before + simulated + sorter).camera, SimulatedSettings)
    with pytest.raises(
        ConfigError,
        match=r"exposure_us: is not a known key: it is a key of kind aravis and of kind harvesters and of",
    ):
        load(tmp_path, before + simulated.replace("lose: 0.01", "exposure_us: 3") + sorter)
    with pytest.raises(ConfigError, match=r"camera\.pool: is missing: name a folder of frames"):
        load(tmp_path, before + "camera: {kind: simulated}\n" + sorter)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: pylon", "kind: pylone", ":10: camera.kind: 'pylone' is not known: did you mean `pylon`?"),
        (
            "  kind: pylon\n",
            "",
            "camera.kind: is missing: known are: aravis, folder, harvesters, pylon, simulated",
        ),
        (
            "kind: serial",
            "kind: relay",
            ":17: sorter.kind: 'relay' is not known: known are: camera-lines, gpio, modbus, mqtt, opcua, "
            "serial",
        ),
        (
            "trigger: software",
            "trigger: hardware\n  emulation: pictures",
            ":12: camera.trigger: is `hardware`, but the emulator has no wire",
        ),
        ("trigger: software", "trigger: off", ":12: camera.trigger: is off, but in cell mode each frame"),
        (
            "trigger: software",
            "mode: free-running\n  trigger: software",
            ":13: camera.trigger: is `software`, but a free-running station does not trigger",
        ),
        ("trigger:", "triger:", ":12: camera.triger: is not a known key: did you mean `trigger`?"),
        ("exposure_us: 45.5", "exposure_us: -1", ":13: camera.exposure_us: input should be greater than 0"),
        (
            "packet_size: 9000",
            'packet_size: "9000"',
            ":15: camera.packet_size: input should be a valid integer",
        ),
        ('serial: "40012345"', "serial: 40012345", ":11: camera.serial: input should be a valid string"),
        (
            "recipe: servo-motor-housing\n",
            "",
            ":1: recipe: is missing: add it: the name of the prepared recipe",
        ),
        (
            "packet_size: 9000",
            "nodes:\n    - Black Level: 2",
            ":15: camera.nodes: 'Black Level' is not the name of a feature: write the name as in the",
        ),
        (
            "packet_size: 9000",
            "nodes:\n    - BlackLevel: [2]",
            ":15: camera.nodes: BlackLevel does not have one value: write one word, number, true or false",
        ),
        ("journal: var/journal.db", "journal:", ":6: paths.journal: input should be a valid string"),
        ("sorter:", "sorters:", "sorters: is not a known key: did you mean `sorter`?"),
        ("name: press-3", "name: Prüfplatz", ":1: station.name: string should match pattern"),
    ],
)
def test_a_mistake_is_named_by_line_key_and_remedy(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in PLANT
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, PLANT.replace(old, new))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("added", "says"),
    [
        (
            "limits: {part_deadline_ms: 300}",
            "limits.grab_timeout_ms: is 500, not less than part_deadline_ms 300",
        ),
        ("simulation: {cell: {verdict_ms: 900}}", "verdict_ms: is 900, not longer than the deadline 1000"),
        ("engine: {backend: cuda}", "engine.backend: input should be 'auto', 'openvino'"),
        ("images: {quota_mb: 0}", "images.quota_mb: input should be greater than or equal to 1"),
        ("  heartbeat_ms: 800", "sorter.link_timeout_ms: is 1000, less than two heartbeats of 800"),
        ("  ack_timeout_ms: 60", "sorter.ack_timeout_ms: is 60, too short to send again after 50"),
        (
            "simulation: {cell: {misbehave: {late: 2}}}",
            "simulation.cell.misbehave.late: input should be less",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(tmp_path: Path, added: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, PLANT + added + "\n")
    assert says in str(caught.value)
    assert str(tmp_path / "station.yaml") in str(caught.value)


def keys_of(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> set[str]:
    """Every key of a model and of the models in it, with `digest` left out: it is computed."""
    seen = seen if seen is not None else set()
    keys: set[str] = set()
    pending: list[object] = [model]
    while pending:
        annotation = pending.pop()
        pending.extend(getattr(annotation, "__args__", ()))
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
            seen.add(annotation)
            keys |= set(annotation.model_fields)
            pending.extend(field.annotation for field in annotation.model_fields.values())
    return keys - {"digest", "text"}  # computed


GENICAM_AND_PYLON = """\
camera:
  kind: pylon
  mode: cell
  reopen_backoff_s: 2.5
  serial: "40012345"
  name: left
  device_class: BaslerGigE
  user_set: UserSet1
  pixel_format: RGB8
  width: 2048
  height: 1000
  blocks: 4
  offset_x: 16
  offset_y: 8
  exposure_us: 45.5
  gain_db: -1.5
  line_rate_hz: 21000
  frame_rate_hz: 5.8
  trigger: hardware
  trigger_selector: FrameBurstStart
  trigger_line: Line3
  trigger_activation: FallingEdge
  trigger_delay_us: 30
  debounce_us: 10
  line_trigger: ShaftEncoderModuleOut
  line_trigger_activation: AnyEdge
  packet_size: 9000
  inter_packet_delay: 1000
  heartbeat_ms: 3000
  limit_throughput: true
  buffer_count: 12
  nodes:
    - BlackLevel: 2
    - LineSelector: Line2
      LineInverter: true
    - Gamma: 0.9
    - DeviceUserID: "7"
"""


def test_every_setting_of_the_driver_can_be_made_in_the_file(tmp_path: Path) -> None:
    before, after = PLANT.split("camera:\n")
    camera = load(tmp_path, before + GENICAM_AND_PYLON + after[after.index("sorter:") :]).camera
    assert isinstance(camera, PylonSettings)
    left_out = {name for name in PylonSettings.model_fields if name not in camera.model_fields_set}
    assert left_out == {"emulation"}, "which cannot stand beside a wire"
    assert (camera.debounce_us, camera.trigger_delay_us, camera.heartbeat_ms) == (10.0, 30.0, 3000)
    assert [list(features.items()) for features in camera.nodes] == [
        [("BlackLevel", 2)],
        [("LineSelector", "Line2"), ("LineInverter", True)],
        [("Gamma", 0.9)],
        [("DeviceUserID", "7")],
    ]


EARLIER_RELEASE = """\
station: {name: press-3}
recipe: servo-motor-housing
paths: {recipes: r, engines: e, journal: j.db, images: i, cache: c}
camera:
  kind: pylon
  serial: "40012345"
  mode: free-running
  pixel_format: BGR8
  width: 4096
  height: 3648
  offset_x: 0
  offset_y: 0
  exposure_us: 45
  gain_db: 3.0
  line_rate_hz: 21000
  trigger: off
  trigger_line: Line1
  trigger_activation: RisingEdge
  line_trigger: ShaftEncoderModuleOut
  user_set: UserSet1
  packet_size: 9000
  inter_packet_delay: 100
  buffer_count: 8
  reopen_backoff_s: 5
sorter:
  kind: serial
  port: /dev/ttyUSB0
  baud: 115200
  rtscts: false
  heartbeat_ms: 250
  link_timeout_ms: 1000
  resend_ms: 50
  ack_timeout_ms: 2000
  max_in_hand: 8
  reopen_max_s: 1
"""


def test_the_devices_of_an_earlier_releases_file_are_read_as_they_were(tmp_path: Path) -> None:
    triggered = EARLIER_RELEASE.replace("mode: free-running", "mode: cell").replace(
        "trigger: off", "trigger: hardware"
    )
    config = load(tmp_path, triggered)
    assert isinstance(config.camera, PylonSettings)
    assert (config.camera.trigger, config.camera.line_trigger) == ("hardware", "ShaftEncoderModuleOut")


def test_running_free_with_a_cell_that_sorts_only_what_it_triggered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, EARLIER_RELEASE)
    (line,) = str(caught.value).splitlines()
    assert (
        ":7: camera.mode: is `free-running`, and this sorter sorts only what the cell has triggered" in line
    )
    assert line.endswith("write `mode: cell` and let the cell trigger each part")


@pytest.mark.parametrize("key", ["width", "height"])
def test_a_size_of_0_which_an_earlier_release_took_says_to_leave_the_key_out(
    tmp_path: Path, key: str
) -> None:
    text = EARLIER_RELEASE.replace("width: 4096", "width: 0").replace("height: 3648", "height: 0")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    says = f"camera.{key}: input should be greater than 0 (it is 0): write the {key} of the picture"
    line = next(line for line in str(caught.value).splitlines() if says in line)
    assert line.endswith(f"without it, the sensor's {key} is used")


def test_the_cell_is_told_how_long_a_part_is_to_stay_in_place() -> None:
    protocol = (ROOT / "docs" / "serial-protocol.md").read_text()
    said = f"| part surely in place after TRIGGER-ACK | {Limits().in_place_ms:g} ms | `limits.in_place_ms` |"
    assert said in protocol


def test_the_documents_tables_are_what_the_sections_say() -> None:
    tables = (ROOT / "docs" / "configuration.md").read_text().partition("## Every key\n\n")[2]
    assert tables == key_tables(config_model()), "write the output of `station config keys` there"


@pytest.mark.parametrize(
    ("model", "document"), [(config_model(), "configuration.md"), (Recipe, "recipes.md")]
)
def test_every_key_is_described_in_the_documents(model: type[BaseModel], document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    assert sorted(key for key in keys_of(model) if f"`{key}`" not in text) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "journal: var/journal.db",
            "journal: station.yaml",
            "is the same path as the configuration",
        ),
        ("journal: var/journal.db", "journal: var/../station.yaml", "is the same path as the configuration"),
        ("journal: var/journal.db", "journal: var/station.sock", "journal: is the same path as `control`"),
        ("journal: var/journal.db", "journal: /data/images/j.db", "journal: lies in the folder of `images`"),
        ("images: /data/images", "images: ../recipes", "images: is the same path as `recipes`"),
        ("images: /data/images", "images: ../engines/a", "images: lies in the folder of `engines`"),
        ("cache: var/cache", "cache: var/journal.db", "journal: is the same path as `cache`"),
        (
            "cache: var/cache",
            "cache: var/cache\n  control: var/journal.db",
            "journal: is the same path as `control`",
        ),
        ("camera:", "limits: {part_deadline_ms: 600000}\ncamera:", "part_deadline_ms: input should be less"),
        ("camera:", "limits: {part_deadline_ms: 30000}\ncamera:", "part_deadline_ms: above 10000 lets"),
        ("camera:", "limits: {hung_after_ms: 600000}\ncamera:", "hung_after_ms: above 60000 leaves"),
        (
            "camera:",
            "limits: {part_deadline_ms: 5000, in_place_ms: 2000}\ncamera:",
            "in_place_ms: above 1000 lets",
        ),
        (
            "camera:",
            "limits: {part_deadline_ms: 600, in_place_ms: 601}\ncamera:",
            "in_place_ms: is 601, more than part_deadline_ms 600",
        ),
    ],
)
def test_a_configuration_that_disarms_the_station_is_refused(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, PLANT.replace(old, new, 1))
    assert says in str(caught.value)


def test_a_long_deadline_needs_a_reason_that_is_shown(tmp_path: Path) -> None:
    limits = 'limits: {part_deadline_ms: 30000, accept_risk: "hand-loaded jig"}\ncamera:'
    config = load(tmp_path, PLANT.replace("camera:", limits, 1))
    (risk,) = accepted_risks(config)
    assert risk.startswith("limits.part_deadline_ms above 10000")
    assert "hand-loaded jig" in risk


def test_a_cameras_lines_bring_no_trigger(tmp_path: Path) -> None:
    before, _, _ = PLANT.partition("sorter:\n")
    lines = "sorter: {kind: camera-lines, ok: Line3}\n"
    with pytest.raises(ConfigError, match=r"camera\.mode: is `cell`, and the lines of a camera bring no"):
        load(tmp_path, before + lines)
    free = before.replace("trigger: software", "mode: free-running\n  trigger: hardware")
    assert load(tmp_path, free + lines).sorter.uses_camera_lines
