"""Made `format_1.pt`: the last checkpoint of a real run of four steps, as the first release of format 1 writes it.

Run as `python -m tests.golden.make_format_1`. A released format's file is never made anew: it is what users have.
"""

import shutil
import tempfile
from pathlib import Path

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.checkpoint.files import LAST
from nima_cli.engine.data.prepare import prepare
from tests.conftest import write_corpus
from tests.engine.training.runs import make_config, run_to_end

PATH = Path(__file__).parent / "format_1.pt"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        source = SourceConfig(path=str(write_corpus(folder / "corpus")))
        options = DataConfig(sources=[source], vocab_size=352, max_length=128)
        list(prepare(options, folder / "data", overwrite=False, workers=1))
        # The header holds the settings: no place of the machine that made the file.
        config = make_config(model={"n_layers": 1, "d_model": 16}, max_steps=4, ema_decay=0.9)
        run_to_end(config, folder / "data", folder / "run")
        shutil.copyfile(folder / "run" / LAST, PATH)


if __name__ == "__main__":
    main()
