#!/usr/bin/env bash
# The main job, end to end: rooms -> prepared scenes -> 0.1 % labels -> supervised-only and ERDA -> scores -> pictures.
#
#   bash scripts/demo.sh                    on procedural rooms, about five minutes on two CPU cores
#   bash scripts/demo.sh --raw S3DIS_DIR    on real rooms in S3DIS's native layout (Area_5 held out)
#   options: --out DIR (default: demo, with --raw demo_real)   --seed N (default: 0)   --cuda (install torch's CUDA build)
#
# Run again, it keeps what is done and continues what was interrupted.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

usage() { sed -n '2,8p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
refuse() { echo "demo: error: $1 (see 'bash scripts/demo.sh --help')" >&2; exit 2; }

RAW="" OUT="" SEED=0 CUDA=""
while [ $# -gt 0 ]; do
    case "$1" in
        --raw | --out | --seed)
            [ $# -ge 2 ] || refuse "$1 needs a value"
            case "$1" in --raw) RAW="$2" ;; --out) OUT="$2" ;; --seed) SEED="$2" ;; esac
            shift 2 ;;
        --cuda) CUDA=--cuda; shift ;;
        -h | --help) usage; exit 0 ;;
        *) refuse "unknown option '$1'" ;;
    esac
done
[ -z "$RAW" ] || [ -d "$RAW" ] || refuse "--raw: there is no folder '$RAW'"
case "$SEED" in '' | *[!0-9]*) refuse "--seed: '$SEED' is not a whole number" ;; esac
SEED=$((10#$SEED))
[ -n "$OUT" ] || OUT="$ROOT/demo${RAW:+_real}"

make_env "" "$CUDA"
step() { echo; echo "\$ pointseg $*"; "$VENV/bin/pointseg" "$@"; }
mkdir -p "$OUT"
started=$SECONDS

if [ -n "$RAW" ]; then
    step prepare s3dis --raw "$RAW" --out "$OUT/data" --voxel-size 0.08
else
    step prepare synthetic --raw "$OUT/raw" --out "$OUT/data" --voxel-size 0.08
fi
step label --data "$OUT/data" --rule 0.1% --seed "$SEED" --voxel-size 0.08

# Both methods at the same time, one process each with half of the cores: faster than one after the other.
cores="$(nproc 2>/dev/null || sysctl -n hw.ncpu)"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores > 1 ? cores / 2 : 1))}"
mkdir -p "$OUT/runs"
settings=(--data "$OUT/data" --labels "0.1pct_seed$SEED" --seed "$SEED" --workers 0 --resume)
log="$OUT/runs/supervised.log"
echo
echo "\$ pointseg train synthetic_supervised ${settings[*]} --out $OUT/runs/supervised   # beside ERDA; progress: $log"
"$VENV/bin/pointseg" train synthetic_supervised "${settings[@]}" --out "$OUT/runs/supervised" >"$log" 2>&1 &
beside=$!
trap 'kill "$beside" 2>/dev/null || true' EXIT
step train synthetic_erda "${settings[@]}" --out "$OUT/runs/erda"
echo
echo "waiting for supervised-only to end"
wait "$beside" || { cat "$log" >&2; exit 1; }
trap - EXIT
unset OMP_NUM_THREADS

step evaluate "$OUT/runs/supervised" "$OUT/runs/erda"
for method in supervised erda; do
    step predict "$OUT/runs/$method"
    step view "$OUT/runs/$method/predictions/Area_5" --out "$OUT/views/$method"
done

cat <<EOF

Done in $((SECONDS - started)) s. Where to look:
  pictures     $OUT/views/*/*.png
  3D pages     $OUT/views/*/*.html   (open in a browser; no network needed)
  point clouds $OUT/runs/*/predictions/Area_5/*.ply   (CloudCompare: pred, gt, error, confidence)
  scores       $OUT/runs/*/evaluation/*.json
  curves       $VENV/bin/tensorboard --logdir $OUT/runs
EOF
