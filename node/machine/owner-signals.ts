import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findProgram, spawnClean } from '../clean-spawn.ts';
import { readKernelFile } from './kernel-file.ts';
import { isLocalScreen } from './processes.ts';

/**
 * Whether somebody plays at this machine's screen, as far as the desktop tells: Feral's GameMode, which games and Steam ask
 * for, and a full-screen window of X11 (also of XWayland, in which most games are; no Wayland desktop tells others of its windows).
 */
export interface OwnerPlaces {
  /** Files of logind: who sits where. */
  sessions: string;
  /** Folders of users: their session buses. */
  run: string;
  proc: string;
  path: string | undefined;
}

const usualPlaces: OwnerPlaces = {
  sessions: '/run/systemd/sessions',
  run: '/run/user',
  proc: '/proc',
  path: `${process.env.PATH ?? ''}:/usr/games:/usr/local/games`,
};
const askMs = 3_000;
const mostChars = 64 << 10;
const gameMode = ['com.feralinteractive.GameMode', '/com/feralinteractive/GameMode', 'com.feralinteractive.GameMode'];

interface Seen {
  isPresent: boolean;
  /** What plays, as a part of a sentence; null: nothing that is known. */
  plays: string | null;
}

export class OwnerSignals {
  readonly #places: OwnerPlaces;
  readonly #seesFullScreen: boolean;

  constructor(seesFullScreen: boolean, places: Partial<OwnerPlaces> = {}) {
    this.#places = { ...usualPlaces, ...places };
    this.#seesFullScreen = seesFullScreen;
  }

  /** Never throws: what cannot be asked says nothing. */
  async look(): Promise<Seen> {
    const uids = await this.#uidsAtScreen();
    const games = await this.#game(uids);
    const plays = games ?? (this.#seesFullScreen && (await this.#hasFullScreen(uids)) ? 'a full-screen window' : null);
    return { isPresent: uids.length > 0, plays };
  }

  /** Of whom this agent may ask anything: as root of all, else of its own user. */
  async #uidsAtScreen(): Promise<number[]> {
    const { sessions } = this.#places;
    const names = await readdir(sessions).catch(() => [] as string[]);
    const texts = await Promise.all(
      names
        .filter((name) => !name.endsWith('.ref'))
        .map((name) => readFile(join(sessions, name), 'utf8').catch(() => '')),
    );
    const uids = texts.filter(isLocalScreen).map((text) => Number(/^UID=(\d{1,10})$/m.exec(text)?.[1] ?? Number.NaN));
    return [...new Set(uids.map((uid) => (Number.isInteger(uid) ? uid : -1)))];
  }

  async #game(uids: readonly number[]): Promise<string | null> {
    const { path, run } = this.#places;
    // Most machines have none, and this is asked every 10 s: no process is started for it.
    if (findProgram('gamemoded', path) === null || findProgram('busctl', path) === null) return null;
    for (const uid of uids) {
      const bus = join(run, String(uid), 'bus');
      // Not started for being asked: `--auto-start=no`.
      const args = [`--address=unix:path=${bus}`, '--auto-start=no', '--json=short', 'call', ...gameMode, 'ListGames'];
      const pid = /"data":\[\[\[(\d{1,10}),/.exec(await this.#ask(uid, 'busctl', args))?.[1];
      if (pid !== undefined) return `GameMode: ${this.#nameOf(Number(pid))}`;
    }
    return null;
  }

  #nameOf(pid: number): string {
    try {
      const name = readKernelFile(join(this.#places.proc, String(pid), 'comm')).trim();
      return name.replace(/[^\x20-\x7e]/g, '?').slice(0, 64) || 'a game';
    } catch {
      return 'a game';
    }
  }

  async #hasFullScreen(uids: readonly number[]): Promise<boolean> {
    if (findProgram('xprop', this.#places.path) === null) return false;
    for (const uid of uids)
      for (const display of await this.#displaysOf(uid)) {
        const active = await this.#ask(uid, 'xprop', ['-root', '_NET_ACTIVE_WINDOW'], display);
        const window = /window id # (0x[1-9a-f][\da-f]{0,15})/.exec(active)?.[1];
        if (window === undefined) continue;
        const state = await this.#ask(uid, 'xprop', ['-id', window, '_NET_WM_STATE'], display);
        if (/\b_NET_WM_STATE_FULLSCREEN\b/.test(state)) return true;
      }
    return false;
  }

  /** By the environment of what the user runs, which has also what opens the display. At most three. */
  async #displaysOf(uid: number): Promise<Record<string, string>[]> {
    const { proc } = this.#places;
    const found = new Map<string, Record<string, string>>();
    const pids = (await readdir(proc).catch(() => [] as string[])).filter((name) => /^\d+$/.test(name));
    for (const pid of pids) {
      if (found.size >= 3) break;
      try {
        if (!readKernelFile(join(proc, pid, 'status')).includes(`\nUid:\t${uid}\t`)) continue;
        const words = readKernelFile(join(proc, pid, 'environ')).split('\0');
        const value = (key: string): string | undefined =>
          words.find((word) => word.startsWith(`${key}=`))?.slice(key.length + 1);
        const display = value('DISPLAY');
        // Of this machine: an ssh session's leads elsewhere.
        if (display === undefined || !/^:\d{1,4}(\.\d)?$/.test(display) || found.has(display)) continue;
        const authority = value('XAUTHORITY');
        found.set(display, { DISPLAY: display, ...(authority === undefined ? {} : { XAUTHORITY: authority }) });
      } catch {
        // Gone, or another's.
      }
    }
    return [...found.values()];
  }

  /** What it printed; empty when it failed, or did not end. As that user: a session's bus and display are his alone. */
  #ask(uid: number, program: string, args: string[], environment: Record<string, string> = {}): Promise<string> {
    const own = process.getuid?.() ?? 0;
    if (own !== 0 && own !== uid) return Promise.resolve('');
    const env = { PATH: this.#places.path ?? '', LC_ALL: 'C', ...environment };
    const asUser = own === 0 && uid > 0 ? { uid, gid: uid } : {};
    return new Promise((resolve) => {
      const child = spawnClean(program, args, { env, stdio: ['ignore', 'pipe', 'ignore'], cwd: '/', ...asUser });
      let said = '';
      const late = setTimeout(() => child.kill('SIGKILL'), askMs);
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        if (said.length < mostChars) said += text;
      });
      const done = (code: number | null): void => {
        clearTimeout(late);
        resolve(code === 0 ? said : '');
      };
      child.once('error', () => done(null));
      child.once('close', done);
    });
  }
}
