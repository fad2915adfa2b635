"""Train a VAE on a directory of examples, on all GPUs there are or on the CPU.

The preset gives every setting; a YAML file (--config) and single options override it. The run
writes checkpoints and goes on from them: give the same command again.

  python -m trainer --examples runs/demo/examples --output runs/demo/model --preset mlp
  python -m trainer --examples runs/demo/examples --output runs/demo/wide --widths 512,256
"""

import sys

from components import command_line
from components.config import add_options
from trainer.config import TrainConfig, load_config, preset_names


def main() -> None:
    parser = command_line.Parser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--examples", required=True, metavar="DIR", help="what prepare published")
    parser.add_argument("--output", required=True, metavar="DIR", help="where the model will stand")
    parser.add_argument(
        "--preset", default="mlp", help=f"named configuration: {', '.join(preset_names())} [mlp]"
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file of fields, over the preset's")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace other or damaged work in --output"
    )
    add_options(parser, TrainConfig, show_defaults=False)
    given = vars(parser.parse(sys.argv[1:]))
    examples, output, preset, file, overwrite = (
        given.pop(name) for name in ("examples", "output", "preset", "config", "overwrite")
    )
    config = load_config(preset, file=file, overrides=given)

    from trainer import stage

    stage.run(preset, config, examples=examples, output=output, overwrite=overwrite)


if __name__ == "__main__":
    command_line.run(main)
