import { describeFailure, exit, exitCodeOf, foreseen } from './cli/failure.ts';
import { columnsOf } from './text-wrap.ts';

/** What differs by system is said before anything is loaded. */
function wrongSystem(platform: NodeJS.Platform): string | null {
  if (platform === 'linux') return null;
  if (platform === 'win32')
    return 'error: autogit-node runs on Linux; on Windows start it inside WSL2\nfix: wsl --install, then the same command there\n';
  return `error: autogit-node runs on Linux, not on ${platform === 'darwin' ? 'macOS' : platform}\nfix: start it on a Linux machine, or in a Linux virtual machine\n`;
}

/** A reader that went away (`| head`) is no failure. */
function endQuietlyOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(exit.ok);
      throw error;
    });
}

const isVerbose = (argv: readonly string[]): boolean => argv.includes('-v') || argv.includes('--verbose');

/** What is thrown where nobody can catch it: Node would show a line of the bundle, which is a screen of minified code. */
function endWithOurWords(argv: readonly string[]): void {
  process.on('uncaughtException', (thrown) => {
    const error = foreseen(thrown);
    // The agent has a listener of its own, which closes the store first.
    if (process.listenerCount('uncaughtException') > 1) return;
    process.stderr.write(describeFailure(error, isVerbose(argv), columnsOf(process.stderr)), () =>
      process.exit(exitCodeOf(error)),
    );
  });
}

const flushed = (stream: NodeJS.WriteStream): Promise<void> =>
  new Promise((resolve) => stream.write('', () => resolve()));

/** The program: runs one command line and ends the process with its exit code (INTERFACE.md). */
export async function main(argv: string[]): Promise<void> {
  const refusal = wrongSystem(process.platform);
  if (refusal !== null) {
    process.stderr.write(refusal);
    process.exit(exit.failed);
  }
  endQuietlyOnClosedPipe();
  endWithOurWords(argv);
  let code: number;
  try {
    const { runProgram } = await import('./cli/program.ts');
    code = await runProgram(argv);
  } catch (thrown) {
    const error = foreseen(thrown);
    process.stderr.write(describeFailure(error, isVerbose(argv), columnsOf(process.stderr)));
    code = exitCodeOf(error);
  }
  await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
  process.exit(code);
}
