import type { Packed } from './artifact-pack.ts';

/** What the packing thread says to the agent. */
export type FromThread =
  | { kind: 'open'; id: number; what: 'list' | 'read'; names: Uint8Array | null; roots: string[] }
  /** `buffer`: of a chunk that the thread is done with, to be filled again. */
  | { kind: 'pull'; id: number; buffer: ArrayBuffer | null }
  | { kind: 'close'; id: number }
  | { kind: 'done'; packed: Packed }
  | { kind: 'failed'; message: string; problem: boolean | null };

/** One chunk of what was opened, with its memory; null at its end. */
export interface ToThread {
  id: number;
  chunk: Uint8Array<ArrayBuffer> | null;
  error: string | null;
  complaint: string;
}
