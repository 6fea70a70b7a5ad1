"""From a document as read to the document that is learned."""
