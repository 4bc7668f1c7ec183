import type { GpuProcess, GpuSample } from './gpu-nvidia.ts';

/** Programs that draw the desktop: they sit on the GPU all day and are nobody's game. */
const desktop =
  /(^|\/)(Xorg|X|Xwayland|gnome-shell|mutter[\w-]*|gnome-remote-de[\w-]*|xdg-desktop-[\w-]*|kwin_\w+|plasmashell|cinnamon|xfwm4|sway|Hyprland|weston|gdm[\w-]*|sddm[\w-]*|lightdm[\w-]*|nvidia-persistenced|nvidia-smi|dcgm[\w-]*|nv-hostengine)(\s|$)/;

/** A graphics program counts as play from this share of the GPU on: a browser at rest does not. */
const playPercent = 20;
/** A compute program that does nothing and has no more memory than this waits for work, as a daemon does. */
const idleBytes = 512 << 20;
const idlePercent = 5;
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

/** Who has a GPU beside us. `plays`: a person sits before it (a game, a 3D program); otherwise a program computes. */
export interface OwnersUse {
  name: string;
  plays: boolean;
}

/** The program that is no run of ours and is at work on this GPU, or null: then the owner comes first (DESIGN §9). */
export function ownersUse(sample: GpuSample, ours: OwnRuns): OwnersUse | null {
  const { processes, busyPercent, namesGames = true } = sample;
  const isBusyUnnamed = ours.pids.size === 0 && (busyPercent ?? 0) >= unnamedPercent;
  const unnamed = isBusyUnnamed ? { name: 'a program', plays: true } : null;
  if (processes === null) return unnamed;
  const uses = processes.flatMap((process): OwnersUse[] => {
    if (desktop.test(process.name) || isOurs(process.pid, ours)) return [];
    const name = programName(process.name);
    // Graphics programs that compute too (browsers, a remote desktop) sit on the GPU all day: their share tells.
    if (process.type !== 'C') return (process.busyPercent ?? 0) >= playPercent ? [{ name, plays: true }] : [];
    return isIdle(process) ? [] : [{ name, plays: false }];
  });
  return uses.find(({ plays }) => plays) ?? uses[0] ?? (namesGames ? null : unnamed);
}

const isIdle = ({ busyPercent, usedBytes }: GpuProcess): boolean =>
  (busyPercent ?? 0) < idlePercent && usedBytes !== null && usedBytes < idleBytes;

/** `/usr/bin/python3` -> `python3`; printable, for a sentence. */
const programName = (name: string): string =>
  (name.split(/[/\\]/).at(-1) ?? '').replace(/[^\x20-\x7e]/g, '?').slice(0, 64) || 'a program';
