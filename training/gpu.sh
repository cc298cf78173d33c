#!/usr/bin/env bash
# Train the bundled model on one GPU in about ten minutes, in two parts; both need runs/glyphs.npz and runs/tokenizer.
#   bash training/gpu.sh first WORK OUT 1.4         the autoencoder (minutes), scenes, latents, and a trial of the rest
#   bash training/gpu.sh second WORK OUT 6 0.7      the denoiser and the detector (minutes), the export and a sheet of samples
set -euo pipefail
part=$1 work=$2 out=$3
words=runs/tokenizer
export PYTHONUNBUFFERED=1
mkdir -p "$work" "$out"
if [ "$part" = first ]; then
    nice python3 -m training.denoiser plan "$work/data" --tokenizer $words --scenes "${SCENES:-500000}" &
    python3 -m training.autoencoder "$work/vae" --minutes "$4"
    cp "$work/vae/vae/"* "$out"
    wait %1
    python3 -m training.denoiser encode "$work/data" --vae "$work/vae/vae"
    timeout 40 python3 -m training.denoiser train "$work/trial" --data "$work/data" --tokenizer $words --minutes 0.3 || true
    timeout 25 python3 -m training.detector "$work/trial_detector" --vae "$work/vae/vae" --steps 130 --scenes 10000 || true
else
    python3 -m training.denoiser train "$work/unet" --data "$work/data" --tokenizer $words --minutes "$4"
    python3 -m training.export --vae "$work/vae/vae" --unet "$work/unet" --tokenizer $words --out "$work/weights"
    tar -C "$work" -cf - weights | split -b 15M - "$out/weights.tar."
    python3 -m training.samples "$work/weights/pipeline" "$out/samples.png" || true
    python3 -m training.detector "$work/detector" --vae "$work/vae/vae" --minutes "$5" || true
    python3 -m training.export --vae "$work/vae/vae" --unet "$work/unet" --tokenizer $words --detector "$work/detector" --out "$work/weights"
    tar -C "$work" -cf - weights | split -b 15M - "$out/weights.tar."
fi
