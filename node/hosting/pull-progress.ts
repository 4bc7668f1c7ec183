import type { PullEvent } from '../executors/docker-image.ts';
import type { PullProgress } from './service-host.ts';

/** Adds up what an engine tells of the layers of a pull; it tells of a layer only when its turn has come. */
export function pullProgress(onProgress: PullProgress): (event: PullEvent) => void {
  const layers = new Map<string, { done: number; total: number }>();
  return ({ id, status, progressDetail }) => {
    if (typeof id !== 'string' || typeof status !== 'string') return;
    const layer = layers.get(id) ?? { done: 0, total: 0 };
    const [current, total] = [Number(progressDetail?.current), Number(progressDetail?.total)];
    if (status === 'Downloading' && total > 0) {
      layer.total = total;
      layer.done = Math.min(current || 0, total);
    } else if (/^(Verifying Checksum|Download complete|Extracting|Pull complete)$/.test(status))
      layer.done = layer.total;
    else return;
    layers.set(id, layer);
    const sum = (of: 'done' | 'total'): number => [...layers.values()].reduce((all, one) => all + one[of], 0);
    onProgress(sum('done'), sum('total'));
  };
}
