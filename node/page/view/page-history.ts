/** One thing that happened, as the agent tells it (`/api/timeline`); ids grow. Times are RFC 3339. */
export interface PageEvent {
  id: string;
  at: string;
  kind: 'election' | 'member' | 'approval' | 'lost-run' | 'job' | 'gitlab' | 'move' | 'backup' | 'owner' | 'attention';
  severity: 'info' | 'warn' | 'fail';
  node: string | null;
  sentence: string;
  because: string | null;
}

/** What machines used, a mean each step, from 0 to 1 or null (`/api/usage`). */
export interface PageUse {
  stepMs: number;
  from: string;
  machines: {
    node: string;
    cpu: (number | null)[];
    memory: (number | null)[];
    gpus: { name: string; load: (number | null)[]; memory: (number | null)[] }[];
  }[];
}
