/** What an agent asks of its server before, and beside, the Kubernetes API: settings and certificates. */

export interface SupervisorClient {
  /** `https://HOST:6443` */
  readonly url: string;
  /** PEM of the server's CA, which was checked. */
  readonly ca: string;
  /** The body of an answer of 200; another answer rejects with a `SupervisorError`, none at all with the error of the connection. */
  get(path: string): Promise<string>;
  /**
   * Has the key of a PKCS#10 request signed: `client-kubelet`, `serving-kubelet` (for `ips`) or `client-PLUGIN`. Resolves to
   * PEM, the leaf first. The node's name and its password go with it.
   */
  certificate(name: string, csr: string, ips?: readonly string[]): Promise<string>;
}

/** An answer that is not 200; `message` is that of the server. */
export class SupervisorError extends Error {
  override readonly name = "SupervisorError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}
