import type { CDPSession } from 'playwright-core';

/** Snapshot of V8's heap: `nodes` is a row of numbers for each thing, as `meta` names them. */
interface HeapSnapshot {
  snapshot: { meta: { node_fields: string[]; node_types: [string[], ...unknown[]] } };
  nodes: number[];
}

/** Of the program and of the browser itself: code as it is compiled ever better, and the lists of what took long that a browser keeps, each with an end. */
const notKept: readonly string[] = ['code', 'native', 'hidden', 'synthetic', 'object shape'];

async function collect(session: CDPSession): Promise<void> {
  for (let time = 0; time < 2; time++) await session.send('HeapProfiler.collectGarbage');
}

/** Bytes of V8's heap after its garbage is collected, code and all. */
export async function heapUsed(session: CDPSession): Promise<number> {
  await collect(session);
  return (await session.send('Runtime.getHeapUsage')).usedSize;
}

/** What the page's own program keeps: bytes of its objects, arrays, closures and texts, and how many nodes of the document and listeners there are. */
export async function keptBy(session: CDPSession): Promise<{ bytes: number; nodes: number; listeners: number }> {
  await collect(session);
  const pieces: string[] = [];
  const add = ({ chunk }: { chunk: string }): void => void pieces.push(chunk);
  session.on('HeapProfiler.addHeapSnapshotChunk', add);
  await session.send('HeapProfiler.takeHeapSnapshot', {});
  session.off('HeapProfiler.addHeapSnapshotChunk', add);
  const { snapshot, nodes } = JSON.parse(pieces.join('')) as HeapSnapshot;
  const fields = snapshot.meta.node_fields;
  const [type, size] = [fields.indexOf('type'), fields.indexOf('self_size')];
  let bytes = 0;
  for (let at = 0; at < nodes.length; at += fields.length)
    if (!notKept.includes(snapshot.meta.node_types[0][nodes[at + type] as number] as string))
      bytes += nodes[at + size] as number;
  const { nodes: there, jsEventListeners: listeners } = await session.send('Memory.getDOMCounters');
  return { bytes, nodes: there, listeners };
}
