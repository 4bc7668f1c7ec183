import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { execClean, spawnClean } from '../clean-spawn.ts';

/** What the machine is about to do. */
export type Going = 'sleep' | 'shutdown';

interface SleepWatchOptions {
  /** The machine goes: what must be said first, in at most `patienceMs`. The machine waits for it. */
  before(going: Going, patienceMs: number): Promise<void>;
  /** It is back: it woke up, or did not go after all. */
  after(going: Going): void;
  debug(sentence: string): void;
  /** For tests: how signals are listened to; by default what this user may use. */
  listener?: 'busctl' | 'dbus-monitor';
}

const manager = ['org.freedesktop.login1', '/org/freedesktop/login1', 'org.freedesktop.login1.Manager'] as const;
const rules = (['PrepareForSleep', 'PrepareForShutdown'] as const).map(
  (member) => `type='signal',sender='${manager[0]}',path='${manager[1]}',interface='${manager[2]}',member='${member}'`,
);
/** Logind's limit must not run out before the lock is given back. */
const marginMs = 700;
/** Awake so long after logind said that it would sleep: it did not, whatever it says. Such a timer stands in suspend. */
const nevermindMs = 60_000;
const againMs = 60_000;

/**
 * Where systemd-logind is: holds its delay lock, so that sleep and shutdown wait for a polite leave. Life of it: the lock
 * is taken -> logind says that the machine goes -> `before` -> the lock is given back, and it goes -> logind says that
 * it is back -> `after`, and the lock is taken again. No logind: one line for debugging, and nothing else ever.
 */
export class SleepWatch {
  readonly #options: SleepWatchOptions;
  #lock: ChildProcess | null = null;
  #listener: ChildProcess | null = null;
  /** What there is for `before`; 0 until logind was asked. */
  patienceMs = 0;
  #going: { readonly kind: Going } | null = null;
  #timer: NodeJS.Timeout | null = null;
  #nevermind: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(options: SleepWatchOptions) {
    this.#options = options;
  }

  /** True when the lock is held and sleep will be heard. Tries again every minute where logind is. */
  async start(): Promise<boolean> {
    if (!hasLogind()) return this.#none('there is no systemd-logind here');
    const delayMs = await delayOfLogind();
    if (this.#isStopped) return false;
    if (delayMs === null) return this.#none('systemd-logind does not answer');
    this.patienceMs = Math.max(0, delayMs - marginMs);
    await this.#listen();
    const hasLock = this.#listener !== null && (await this.#takeLock());
    if (!hasLock) this.#later();
    return hasLock;
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    if (this.#nevermind) clearTimeout(this.#nevermind);
    this.#release();
    this.#listener?.kill();
  }

  #none(because: string): false {
    this.#options.debug(`${because}: before sleep and shutdown only a signal makes this agent leave politely`);
    return false;
  }

  #later(): void {
    if (this.#isStopped || this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void (this.#listener ? this.#takeLock() : this.start());
    }, againMs);
    this.#timer.unref();
  }

  /** `cat` says back what it is told, which proves the lock, and ends with this agent, which gives the lock back. */
  async #takeLock(): Promise<boolean> {
    if (this.#isStopped || this.#lock) return this.#lock !== null;
    const why = 'hands over to the other machines first';
    const lock = spawnClean(
      'systemd-inhibit',
      ['--what=sleep:shutdown', '--mode=delay', '--who=autogit-node', `--why=${why}`, 'cat'],
      { stdio: ['pipe', 'pipe', 'ignore'] },
    );
    this.#lock = lock;
    lock.stdin?.on('error', () => {});
    lock.stdin?.write('held\n');
    const isHeld = await new Promise<boolean>((resolve) => {
      lock.stdout?.once('data', () => resolve(true));
      lock.once('error', () => resolve(false));
      lock.once('exit', () => resolve(false));
    });
    lock.once('exit', () => this.#unlocked(lock));
    if (!isHeld) this.#unlocked(lock);
    return isHeld;
  }

  #unlocked(lock: ChildProcess): void {
    if (this.#lock !== lock) return;
    this.#lock = null;
    this.#options.debug('systemd-logind gives no delay lock now');
    this.#later();
  }

  #release(): void {
    this.#lock?.stdin?.end();
    this.#lock = null;
  }

  /** Resolves when it listens, or cannot. */
  async #listen(): Promise<void> {
    const kind = this.#options.listener ?? (process.getuid?.() === 0 ? 'busctl' : 'dbus-monitor');
    const command =
      kind === 'busctl'
        ? ['busctl', '--system', '--json=short', ...rules.map((rule) => `--match=${rule}`), 'monitor']
        : ['dbus-monitor', '--system', ...rules];
    // A listener must not outlive its agent, however that ends.
    const child = spawnClean('setpriv', ['--pdeathsig', 'TERM', ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#listener = child;
    let member = '';
    createInterface({ input: child.stdout as Readable }).on('line', (line) => {
      member = /member"?[=:]"?(PrepareFor\w+)/.exec(line)?.[1] ?? (line.startsWith('signal') ? '' : member);
      const value = /^\s+boolean (true|false)|"data":\[(true|false)\]/.exec(line);
      if (!value || member === '') return;
      this.#heard(member === 'PrepareForSleep' ? 'sleep' : 'shutdown', (value[1] ?? value[2]) === 'true');
    });
    child.once('error', () => this.#deaf(child));
    child.once('exit', () => this.#deaf(child));
    // Both say something when they begin to listen, each on its own stream.
    await new Promise<void>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) stream?.once('data', () => resolve());
      child.once('error', () => resolve());
      child.once('exit', () => resolve());
    });
    child.stderr?.resume();
  }

  #deaf(child: ChildProcess): void {
    if (this.#listener !== child) return;
    this.#listener = null;
    // Without ears the lock would only delay every sleep.
    this.#release();
    if (!this.#isStopped) this.#options.debug('the signals of systemd-logind cannot be heard');
    this.#later();
  }

  #heard(kind: Going, begins: boolean): void {
    if (this.#isStopped) return;
    if (!begins) return this.#back(kind);
    if (this.#going !== null) return;
    const going = { kind };
    this.#going = going;
    const done = (): void => {
      // Called off meanwhile: the lock is still needed.
      if (this.#going !== going || this.#isStopped) return;
      this.#release();
      this.#nevermind = setTimeout(() => this.#back(kind), nevermindMs);
      this.#nevermind.unref();
    };
    this.#options.before(kind, this.patienceMs).then(done, done);
  }

  #back(kind: Going): void {
    if (this.#going?.kind !== kind || this.#isStopped) return;
    if (this.#nevermind) clearTimeout(this.#nevermind);
    this.#going = null;
    this.#options.after(kind);
    void this.#takeLock();
  }
}

/** Logind's folder; or a bus that somebody named. */
const hasLogind = (): boolean => existsSync('/run/systemd/seats') || !!process.env.DBUS_SYSTEM_BUS_ADDRESS;

/** InhibitDelayMaxSec in ms; null when nobody answers. */
function delayOfLogind(): Promise<number | null> {
  const args = ['--system', '--json=short', 'get-property', ...manager, 'InhibitDelayMaxUSec'];
  return new Promise((resolve) => {
    execClean('busctl', args, { timeout: 5_000 }, (error, stdout) => {
      const micros = error ? Number.NaN : Number(/"data":(\d+)/.exec(stdout)?.[1]);
      resolve(Number.isFinite(micros) ? micros / 1000 : null);
    });
  });
}
