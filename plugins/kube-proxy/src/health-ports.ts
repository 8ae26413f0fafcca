/** `healthCheckNodePort`: tells load balancers whether this node has endpoints of a Service with a `Local` policy. */
import type { Server } from "node:http";
import { http } from "@k3s-p/plugin-api/http";
import type { Logger } from "@k3s-p/plugin-api";
import type { HealthPort } from "./rules.ts";

export interface HealthPorts {
  set(service: string, health: HealthPort | undefined): void;
  stop(): void;
}

interface Open {
  readonly server: Server;
  readonly port: number;
  localEndpoints: number;
}

export interface HealthPortOptions {
  readonly log: Logger;
  /** Whether the rules are up to date. */
  readonly isHealthy: () => boolean;
  readonly address?: string;
}

export function healthPorts(options: HealthPortOptions): HealthPorts {
  const open = new Map<string, Open>();

  function close(service: string): void {
    open.get(service)?.server.close();
    open.get(service)?.server.closeAllConnections();
    open.delete(service);
  }

  return {
    set(service, health) {
      const known = open.get(service);
      if (known && known.port === health?.port) known.localEndpoints = health.localEndpoints;
      else {
        if (known) close(service);
        if (health) open.set(service, listen(service, health, options));
      }
    },
    stop: () => [...open.keys()].forEach(close),
  };
}

function listen(service: string, { port, localEndpoints }: HealthPort, { log, isHealthy, address = "0.0.0.0" }: HealthPortOptions): Open {
  const [namespace, name] = service.split("/");
  const server = http.createServer((_request, response) => {
    const serviceProxyHealthy = isHealthy();
    const body = { service: { namespace, name }, localEndpoints: state.localEndpoints, serviceProxyHealthy };
    response.writeHead(state.localEndpoints && serviceProxyHealthy ? 200 : 503, {
      "content-type": "application/json", "x-content-type-options": "nosniff", "x-load-balancing-endpoint-weight": String(state.localEndpoints),
    });
    response.end(JSON.stringify(body));
  });
  const state: Open = { server, port, localEndpoints };
  server.on("error", (error) => log.warn({ error: error.message }, `no health check for ${service} on port ${port}`));
  server.listen(port, address).unref();
  return state;
}
