// The page /docs: Swagger UI shows the OpenAPI document of this service, and nothing is loaded from elsewhere.
"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  domNode: document.getElementById("docs"),
  deepLinking: true, // the address names the operation that is open
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0, // the schemas are closed
  tryItOutEnabled: true,
  validatorUrl: null,
});
