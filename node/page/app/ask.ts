/** What is said where something could not be done, and the fix. */
export interface AgentRefusal {
  message: string;
  hint: string | null;
}

/** Below the page's own place: the session is part of it. */
export const at = (path: string): string => new URL(`api/${path}`, document.baseURI).href;

/** Whether an answer says that nobody knows this session any more. */
export const isOver = ({ status }: { status: number }): boolean => status === 401;

/** Throws what the agent says, as a `AgentRefused`; `over` where the session has ended. */
export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const answer = await fetch(at(path), { cache: 'no-store', ...(signal && { signal }) });
  if (!answer.ok) throw await refusedBy(answer);
  return (await answer.json()) as T;
}

export class AgentRefused extends Error {
  readonly refusal: AgentRefusal;
  readonly isOver: boolean;

  constructor(refusal: AgentRefusal, over: boolean) {
    super(refusal.message);
    this.refusal = refusal;
    this.isOver = over;
  }
}

export async function refusedBy(answer: Response): Promise<AgentRefused> {
  const said = (await answer.json().catch(() => null)) as Partial<
    Record<'message' | 'hint', string> & { error: Partial<Record<'message' | 'hint', string>> }
  > | null;
  const { message, hint } = said?.error ?? said ?? {};
  const refusal = { message: message ?? `the agent answered ${answer.status}`, hint: hint ?? null };
  return new AgentRefused(refusal, isOver(answer));
}

/** Why something could not be asked. */
export const refusalIn = (error: unknown): AgentRefusal =>
  error instanceof AgentRefused
    ? error.refusal
    : { message: 'the agent did not answer', hint: 'ask again in a moment' };

/** `POST /api/acts/NAME`; what was said, or why not. */
export async function doAct(name: string, body: Record<string, unknown>): Promise<{ said: string } | AgentRefusal> {
  try {
    const answer = await fetch(at(`acts/${name}`), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-autogit': 'page' },
      body: JSON.stringify(body),
    });
    if (!answer.ok) return (await refusedBy(answer)).refusal;
    return (await answer.json()) as { said: string };
  } catch {
    return {
      message: 'the agent did not answer, so it is not known whether this was done',
      hint: 'look at the page again when it answers',
    };
  }
}
