import { type ChildProcess, spawn } from 'node:child_process';

/** A program of another project, in a machine of the rig. Its lines are handed over with the time they came (performance.now). */
export class PeerProcess {
  readonly #child: ChildProcess;
  readonly #gone: Promise<void>;

  constructor(namespace: string, program: string, args: string[], onLine: (line: string, at: number) => void) {
    const enter = [`--net=/var/run/netns/${namespace}`, program, ...args];
    // nsenter becomes the program: its pid is the program's.
    this.#child = spawn('nsenter', enter, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#gone = new Promise((resolve) => this.#child.once('exit', () => resolve()));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      let rest = '';
      stream?.on('data', (data) => {
        const at = performance.now();
        const lines = `${rest}${data}`.split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) onLine(line, at);
      });
    }
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  get isGone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.isGone) this.#child.kill(signal);
  }

  /** Resolves when it is gone. The signal is sent before this returns. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.signal(signal);
    return this.#gone;
  }
}
