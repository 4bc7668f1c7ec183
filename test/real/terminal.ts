import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;

/**
 * A real terminal with a program in it (util-linux `script` makes the pty): what the program sees is a terminal of 100
 * columns, what is typed goes through its line discipline, and `shown` is everything that stood on the screen.
 */
export class Terminal {
  readonly #child: ChildProcessWithoutNullStreams;
  shown = '';
  readonly ended: Promise<number | null>;

  constructor(words: readonly string[], env: NodeJS.ProcessEnv) {
    // At the end the terminal itself says what state it was left in.
    const line = `stty cols 100 rows 30; ${words.map(quoted).join(' ')}; code=$?; stty -a; exit $code`;
    this.#child = spawn('script', ['-qfec', line, '/dev/null'], { env: { ...env, SHELL: '/bin/sh' } });
    this.#child.stdout.on('data', (data) => (this.shown += data));
    this.#child.stderr.on('data', (data) => (this.shown += data));
    this.#child.stdin.on('error', () => undefined);
    this.ended = new Promise((resolve) => this.#child.once('close', resolve));
  }

  type(text: string): void {
    this.#child.stdin.write(text);
  }

  /** The same without what moves the cursor, colours or clears. */
  get text(): string {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what a terminal is steered by
    return this.shown.replace(/\u001b\[[\d;?]*[A-Za-z]/g, '');
  }

  /** Resolves when the screen has shown it. */
  async until(what: RegExp, limitMs = 20_000): Promise<void> {
    const end = Date.now() + limitMs;
    while (!what.test(this.text)) {
      if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}\n${this.shown}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  /** True when what is typed is shown again, and Ctrl-C works: as a shell wants it. */
  get isGivenBack(): boolean {
    return ['echo', 'isig', 'icanon'].every((mode) => new RegExp(`\\s${mode}\\s`).test(this.shown));
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}
