/**
 * The table of adapter failures. `hint` is what the user should type or do next; `retriable` says whether asking again
 * may help. Expected refusals are values, not errors; broken invariants are `InvariantError`s.
 */
const table = {
  'bad-flag': { retriable: false, hint: 'see autogit-node --help' },
  'bad-config': { retriable: false, hint: 'correct the file named above; autogit-node config shows what is in force' },
  'bad-message': { retriable: false, hint: 'the other side may run another version: compare with autogit-node status' },
  'frame-too-large': {
    retriable: false,
    hint: 'the other side may run another version: compare with autogit-node status',
  },
  'no-agent': { retriable: true, hint: 'start one here: autogit-node join' },
  'agent-running': {
    retriable: false,
    hint: 'an agent already runs on this home; another one needs its own: --home DIR',
  },
  'home-unwritable': {
    retriable: false,
    hint: 'make the folder writable for this user, or choose another: --home DIR',
  },
  'store-corrupt': {
    retriable: false,
    hint: 'move the store folder away and join again: the other nodes keep the ledger; a store that is gone comes back as a new one',
  },
  'store-failed': { retriable: true, hint: 'look at the disk: df -h, dmesg' },
  'identity-unreadable': {
    retriable: false,
    hint: 'restore identity.key from a copy, or move it away and join as a new machine (then: autogit-node forget the old one)',
  },
  'port-taken': { retriable: true, hint: 'choose another: --listen /ip4/0.0.0.0/tcp/PORT' },
  'not-approved': { retriable: true, hint: 'on an approved machine: autogit-node approve' },
  'turned-away': {
    retriable: false,
    hint: 'on an approved machine: autogit-node approve, or autogit-node invite for a fresh code',
  },
  removed: { retriable: false, hint: 'autogit-node join   (asks to be let in again)' },
  'no-mesh': { retriable: true, hint: 'start one: autogit-node join --new; or name a machine: --peer ADDRESS' },
  'no-leader': { retriable: true, hint: 'autogit-node status says which machines are missing' },
  'no-gitlab': { retriable: false, hint: 'autogit-node gitlab connect URL --token-env VAR' },
  'gitlab-unreachable': {
    retriable: true,
    hint: 'is GitLab up, and does its address work from here? autogit-node doctor',
  },
  'gitlab-answer': {
    retriable: true,
    hint: 'GitLab answered something unexpected; if it persists: autogit-node doctor',
  },
  'gitlab-refused': {
    retriable: false,
    hint: 'the token is wrong, expired or lacks a scope: autogit-node gitlab connect URL --token-env VAR',
  },
  'no-docker': {
    retriable: true,
    hint: 'start Docker, name its socket (--docker-host), or allow runs without isolation: --executor process',
  },
  'image-missing': { retriable: true, hint: 'docker pull it here, or make its registry reachable' },
  'executor-failed': { retriable: true, hint: 'autogit-node logs shows the details' },
  unsupported: { retriable: false, hint: 'see the README for what this version supports' },
  'timed-out': { retriable: true, hint: 'autogit-node doctor' },
  'no-terminal': { retriable: false, hint: 'answer by flag: autogit-node help COMMAND' },
  'demo-failed': { retriable: true, hint: "run it with --keep and look at the agents' logs" },
} as const satisfies Record<string, { retriable: boolean; hint: string }>;

export type ErrorCode = keyof typeof table;

/** A failure of an adapter, with one shape: what happened (message), why (cause), what to do (hint). */
export class AutogitError extends Error {
  override readonly name = 'AutogitError';
  readonly code: ErrorCode;
  readonly hint: string;
  readonly retriable: boolean;
  constructor(code: ErrorCode, message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint ?? table[code].hint;
    this.retriable = table[code].retriable;
  }
}

/** The program is wrong: crash with the numbers. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

export function invariant(holds: boolean, sentence: string, numbers: Record<string, unknown> = {}): asserts holds {
  if (!holds) throw new InvariantError(`${sentence} ${JSON.stringify(numbers)}`);
}

/** The sentence in a thrown thing. Dials fail with several errors at once: the first few are named. */
export function sentenceOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.slice(0, 3).map(sentenceOf).join('; ');
  if (error instanceof Error) return error.message === '' ? error.name : error.message;
  return String(error);
}
