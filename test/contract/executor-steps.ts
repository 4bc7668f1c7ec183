import { Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { plainName } from '../../node/executors/byte-names.ts';
import { readTar, type TarEntry } from '../../node/executors/tar-format.ts';
import type { ExecutorSpec, StepEnd, Workspace } from '../../node/ports.ts';

export const never = new AbortController().signal;

export const specOf = (run: string, image: string | null, more: Partial<ExecutorSpec> = {}): ExecutorSpec => ({
  run,
  job: 7,
  image,
  entrypoint: null,
  variables: [],
  cpuMillis: null,
  memoryBytes: null,
  gpus: [],
  ...more,
});

/** To a run's spec: a tree of that key, which stays for the next job that has it. */
export const keptTree = (key = 'k') => ({ key, project: 'p', isKept: true, isFresh: false, isOnlyLeft: false });

export const step = (...script: string[]) => ({ name: 'script', script, timeoutMs: null });

export async function textOf(workspace: Workspace, index: number, offset = 0): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of workspace.output(index, offset, never)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

export async function runStep(
  workspace: Workspace,
  index: number,
  ...script: string[]
): Promise<{ text: string; end: StepEnd }> {
  await workspace.start(step(...script), index);
  const [text, end] = await Promise.all([textOf(workspace, index), workspace.ended(index)]);
  return { text, end };
}

export const tarOf = (files: Record<string, string>): Readable => {
  const tar = pack();
  for (const [name, content] of Object.entries(files))
    tar.entry({ name, mode: 0o644, uid: 54321, gid: 54321 }, content);
  tar.finalize();
  return Readable.from(tar);
};

/** All that a place gives, whose chunks are used again. */
export async function allOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

/** What lies at and below a path of a run's tree, read as for an artifact; names count from the project's folder. */
export async function* entriesOf(workspace: Workspace, path: string): AsyncGenerator<TarEntry> {
  const names = await allOf((await workspace.listFiles([path])).bytes);
  if (names.length === 0) return;
  for await (const entry of readTar((await workspace.readFiles(names, [path])).bytes))
    if (plainName(entry.name) !== '') yield { ...entry, name: plainName(entry.name) };
}

export async function textsOf(entries: AsyncIterable<TarEntry>): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for await (const entry of entries)
    if (entry.kind === 'file') texts[entry.name] = (await allOf(entry.body)).toString('utf8');
  return texts;
}

export const filesOf = (workspace: Workspace, path: string): Promise<Record<string, string>> =>
  textsOf(entriesOf(workspace, path));

/** Reads output until it holds the text; the rest is left. */
export async function outputUntil(workspace: Workspace, index: number, wanted: string): Promise<string> {
  const stop = new AbortController();
  let text = '';
  for await (const chunk of workspace.output(index, 0, stop.signal)) {
    text += Buffer.from(chunk).toString('utf8');
    if (text.includes(wanted)) break;
  }
  stop.abort();
  return text;
}
