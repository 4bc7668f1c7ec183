/** An answer that is not a success, thrown from anywhere in a handler. `message` and `error` are GitLab's two shapes. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: number;
  readonly body: unknown;
  readonly headers: Record<string, string>;
  constructor(status: number, body: unknown, headers: Record<string, string> = {}) {
    super(`${status}`);
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

const reasons: Record<number, string> = {
  400: '400 Bad request',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not found',
  405: '405 Method Not Allowed',
  409: '409 Conflict',
  413: '413 Request Entity Too Large',
  416: '416 Range Not Satisfiable',
  429: '429 Too Many Requests',
};

/** `{"message": "403 Forbidden - reason"}`. */
export const refuse = (status: number, reason?: string, headers: Record<string, string> = {}): Refusal => {
  const plain = reasons[status] ?? String(status);
  return new Refusal(status, { message: reason === undefined ? plain : `${plain} - ${reason}` }, headers);
};

/** `{"message": …}` as is: validation errors and other bodies. */
export const refuseWith = (status: number, message: unknown): Refusal => new Refusal(status, { message });

/** `{"error": "token is missing"}`: parameters that GitLab's API layer itself refuses. */
export const badParameter = (error: string): Refusal => new Refusal(400, { error });

export const notFound = (what: string): Refusal => new Refusal(404, { message: `404 ${what} Not Found` });

/** Of an OAuth library, so in another shape than the rest. */
export const tokenHasEnded = (): Refusal =>
  new Refusal(401, {
    error: 'invalid_token',
    error_description: 'Token is expired. You can either do re-authentication or token refresh.',
  });
