from configs import pretraining_config
from system.exit import exit_with


def main() -> None:
    config = pretraining_config()
    # Only now, so that --help and a mistyped flag answer at once.
    from managers import pretrain
    pretrain(config)


if __name__ == "__main__":
    exit_with(main)
