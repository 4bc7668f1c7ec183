import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { entriesOf, runStep, specOf, tarOf } from '../contract/executor-steps.ts';

/** Moves files in and out and runs a step, and says what came of it; bundled and run beside a hostile ~/.bashrc. */
async function main(): Promise<void> {
  const home = process.argv[2] as string;
  const executor = new ProcessExecutor({ home, cgroups: false });
  const workspace = await executor.prepare(specOf('bashrc-1', null), new AbortController().signal);
  await workspace.putTar('in', tarOf({ file: 'there' }));
  const got: string[] = [];
  for await (const { name } of entriesOf(workspace, 'in')) got.push(name);
  const { text } = await runStep(workspace, 0, 'echo ran');
  process.stdout.write(
    JSON.stringify({ put: readFileSync(join(workspace.projectDir, 'in/file'), 'utf8'), got, step: text }),
  );
  await workspace.remove();
  process.exit(0);
}

void main();
