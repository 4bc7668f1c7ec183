import type { GpuSample } from './gpu-nvidia.ts';

/** Programs that draw the desktop: they sit on the GPU all day and are nobody's game. */
const desktop =
  /(^|\/)(Xorg|X|Xwayland|gnome-shell|mutter[\w-]*|kwin_\w+|plasmashell|cinnamon|xfwm4|sway|Hyprland|weston|gdm[\w-]*|sddm[\w-]*|lightdm[\w-]*|nvidia-persistenced|nvidia-smi|dcgm[\w-]*|nv-hostengine)(\s|$)/;

/** A graphics program counts as play from this share of the GPU on: a browser at rest does not. */
const playPercent = 20;
/** Where processes are not named, a GPU that is so busy without a run of ours is in use by its owner. */
const unnamedPercent = 30;
/** A game in its menu goes on counting for so long, in ms. */
export const playLastsMs = 60_000;

export interface OwnRuns {
  /** Processes at the root of our runs. */
  pids: ReadonlySet<number>;
  parentOf(pid: number): number | null;
}

/** True when the process or one of its ancestors belongs to a run of ours. */
export function isOurs(pid: number, { pids, parentOf }: OwnRuns): boolean {
  let at: number | null = pid;
  for (let depth = 0; at !== null && at > 1 && depth < 64; depth++) {
    if (pids.has(at)) return true;
    at = parentOf(at);
  }
  return false;
}

/** Is a process that is no run of ours at work on this GPU? Then the owner comes first (DESIGN §9). */
export function isForeign({ processes, busyPercent }: GpuSample, ours: OwnRuns): boolean {
  if (processes === null) return ours.pids.size === 0 && (busyPercent ?? 0) >= unnamedPercent;
  return processes.some(({ pid, name, type, busyPercent: share }) => {
    if (desktop.test(name) || isOurs(pid, ours)) return false;
    return type === 'G' ? (share ?? 0) >= playPercent : true;
  });
}
