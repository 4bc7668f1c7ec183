/**
 * The table of adapter failures. `hint` is what the user should type or do next: a command, whole, to be pasted; or words,
 * and where a command helps it stands last, behind ": ". `retriable` says whether asking again may help. Expected refusals are values, not errors; broken invariants are `InvariantError`s.
 */
const table = {
  'bad-flag': { retriable: false, hint: 'autogit-node --help' },
  'bad-config': {
    retriable: false,
    hint: 'correct the file or variable named above; what is in force is shown by: autogit-node config',
  },
  'bad-message': { retriable: false, hint: 'the other side may run another version; compare: autogit-node status' },
  'frame-too-large': {
    retriable: false,
    hint: 'the other side may run another version; compare: autogit-node status',
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
  'store-failed': { retriable: true, hint: 'look at the disk: df -h; dmesg | tail' },
  'identity-unreadable': {
    retriable: false,
    hint: 'restore identity.key from a copy; or move it away, join as a new machine, and remove the old one: autogit-node forget NAME',
  },
  'port-taken': { retriable: true, hint: 'choose another: --listen /ip4/0.0.0.0/tcp/PORT' },
  'not-approved': { retriable: true, hint: 'on an approved machine: autogit-node approve' },
  'turned-away': {
    retriable: false,
    hint: 'let it in by its name (approve) on an approved machine, or give it a fresh code there: autogit-node invite',
  },
  removed: { retriable: false, hint: 'to ask to be let in again: autogit-node join' },
  'no-mesh': { retriable: true, hint: 'name a machine by --peer ADDRESS, or start a mesh: autogit-node join --new' },
  'no-leader': { retriable: true, hint: 'see which machines are missing: autogit-node status' },
  'no-gitlab': { retriable: false, hint: 'autogit-node gitlab connect URL --token-env VAR' },
  'no-job': { retriable: false, hint: 'look which ones the mesh knows: autogit-node jobs --all' },
  'gitlab-unreachable': {
    retriable: true,
    hint: 'see whether GitLab is up, and whether its address works from here: autogit-node doctor',
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
  'image-missing': { retriable: true, hint: 'make its registry reachable, or pull it here: docker pull IMAGE' },
  'registry-away': { retriable: true, hint: 'see whether its registry answers this machine: docker pull IMAGE' },
  'image-unusable': { retriable: false, hint: 'look at entrypoint, command and user of the job and its services' },
  'executor-failed': { retriable: true, hint: 'for the details: autogit-node logs' },
  'data-place': { retriable: false, hint: 'look at the disk: df -h; dmesg | tail' },
  upgrade: { retriable: true, hint: 'look at GitLab, then again: autogit-node gitlab' },
  backup: { retriable: true, hint: 'look at the place that the backups go to, then again: autogit-node gitlab backup' },
  clone: { retriable: true, hint: 'see how the machine and its disk are: autogit-node status; df -h' },
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
  /** What did not answer, where that is a server that somebody else named; null for all else. */
  readonly server: string | null;
  constructor(code: ErrorCode, message: string, options: { cause?: unknown; hint?: string; server?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    // A code may come from another process, of a version that knows more of them.
    const known: { retriable: boolean; hint: string } | undefined = Object.hasOwn(table, code)
      ? table[code]
      : undefined;
    this.hint = options.hint ?? known?.hint ?? table['bad-message'].hint;
    this.retriable = known?.retriable ?? false;
    this.server = options.server ?? null;
  }
}

/** The program is wrong: crash with the numbers. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

export function invariant(holds: boolean, sentence: string, numbers: Record<string, unknown> = {}): asserts holds {
  if (!holds) throw new InvariantError(`${sentence} ${JSON.stringify(numbers)}`);
}

/**
 * The sentence in a thrown thing. Dials fail with several errors at once: the first few are named. Node has an arrow between two
 * paths, which is read as what comes before a fix here.
 */
export function sentenceOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.slice(0, 3).map(sentenceOf).join('; ');
  if (error instanceof Error) return error.message === '' ? error.name : error.message.replaceAll("' -> '", "' to '");
  return String(error);
}
