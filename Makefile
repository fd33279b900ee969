# make demo   phantoms -> training with DSD -> evaluation, in a few minutes on two cores
# make test   ruff and the tests, without the full-size runs
# make test-full   all of them
# make triton Triton beside a torch for the CPU, for the tests of its kernels; 200 MB, no GPU needed
# All make .venv when it is absent and install the exact versions of requirements.lock.
# make nnunet  the trainers for nnU-Net v2 on real cases (HIPPOCAMPUS_DIR), in an environment of their
#              own, .venv-nnunet: nnU-Net needs torchvision, and with it the torch that pip finds; on
#              Linux that is one for CUDA, some 6 GB, unless NNUNET_TORCH says where another is:
#              make nnunet NNUNET_TORCH="--index-url ADDRESS"

PYTHON ?= python3
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile \
	--no-loadscope-reorder
DEMO := CT_MMWHS_nnUnet_SelfDist_Demo_Fold1.exp

.PHONY: demo test test-full lint triton nnunet clean

demo: .venv/installed
	$(BIN)/python scripts/make_phantoms.py --dataset mmwhs-ct --output demo/data --cases 12 \
		--size 32 32 28 --overwrite
	$(BIN)/python train_SelfDistil_Original.py demo/data _ --experiment $(DEMO) \
		--img_size 48 48 32 --filters 8 16 32 64 128 --training_split 3 --epochs 40 --lr 0.003 \
		--lr_schedule constant --val_every 8 --device cpu --show_verbose --overwrite
	$(BIN)/python eval.py --experiment $(DEMO) --mode validation --device cpu

test: .venv/installed lint
	$(PYTEST) -m "not full"

test-full: .venv/installed lint
	$(PYTEST)

lint: .venv/installed
	$(BIN)/ruff check .

triton: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps triton==3.7.1  # as torch 2.13

nnunet: .venv-nnunet/installed
	.venv-nnunet/bin/pip install --quiet --disable-pip-version-check ".[nnunet]"
	OMP_NUM_THREADS=1 .venv-nnunet/bin/python -m pytest -q tests/nnunet

.venv-nnunet/installed:
	$(PYTHON) -m venv .venv-nnunet
	.venv-nnunet/bin/pip install --quiet --disable-pip-version-check $(NNUNET_TORCH) \
		"torch>=2.8,!=2.9.*" torchvision
	.venv-nnunet/bin/pip install --quiet --disable-pip-version-check nnunetv2==2.8.0 pytest \
		pytest-timeout
	@touch $@

.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

clean:
	rm -rf .venv .venv-nnunet demo build dsd3d.egg-info
